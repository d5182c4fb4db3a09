"""Resource limits of tasks: what the user had when the job was submitted, as far as this machine allows it."""

import resource

_own_files = resource.getrlimit(resource.RLIMIT_NOFILE)


def raise_own():
    """As many descriptors as this machine allows a process: an agent has one for each run, a supervisor one for each stream. Tasks get
    back what was there before."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (_own_files[1], _own_files[1]))


def apply(limits, memory=0):
    """Set soft limits in the calling process. `limits`: "NOFILE" → (soft, hard) as in JobSpec, -1 unlimited; hard limits stay the
    node's own. `memory` MiB: shown to programs as the resident limit. Returns the names that could not be set."""
    failed = []
    wanted = {"NOFILE": _own_files[0]}
    wanted.update((name, soft) for name, (soft, _hard) in limits.items())
    if memory > 0:
        wanted["RSS"] = memory << 20
    for name, soft in wanted.items():
        number = getattr(resource, "RLIMIT_" + name, None)
        if number is None:
            failed.append(name)
            continue
        hard = resource.getrlimit(number)[1]
        if hard != resource.RLIM_INFINITY and (soft < 0 or soft > hard):
            soft = hard
        try:
            resource.setrlimit(number, (soft if soft >= 0 else resource.RLIM_INFINITY, hard))
        except (ValueError, OSError):
            failed.append(name)
    return failed
