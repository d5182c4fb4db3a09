"""A small NodeFront for the agent's tests: the texts are recognizable, not Slurm's."""


def submitted_environ(info, node, env):
    return dict(env)


def exported_names(info):
    return set()


def batch_environ(info, node, user_env):
    env = dict(user_env)
    env.update(JOB=str(info["job"]), RUN=str(info["run"]), NODE=node)
    return env


def filename(pattern, fields):
    return pattern.replace("%j", str(fields["job"])).replace("%N", fields["node"])


def notice(kind, fields):
    shown = " ".join("%s=%s" % item for item in sorted(fields.items()) if item[0] not in ("time", "used"))
    return ("<%s %s>\n" % (kind, shown)).encode()
