"""What each option of sbatch, salloc and srun does to a request: canonical name → function(asked, value).

`value` is the text as typed, or None when no argument was given. A setter fills `asked.fields` (fields of JobSpec) or
`asked.other` (what only the command itself needs), may add lines to `asked.said`, and returns what -v shows of the option.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from slurm_compat import usage
from slurm_compat.grammar import Invalid, invalid, memory, numbers, signals, timelimit, when, words
from slurm_compat.messages import LEADS

NO_DISPLAY = "No DISPLAY variable set, cannot setup x11 forwarding."
X11_NODES = (None, "all", "batch", "first", "last")
Setter = Callable[[Any, "str | None"], str]
_POSITIVE = ("cores-per-socket", "cpus-per-gpu", "cpus-per-task", "mincpus", "ntasks", "ntasks-per-core", "ntasks-per-gpu",
             "ntasks-per-node", "ntasks-per-socket", "ntasks-per-tres", "sockets-per-node", "threads-per-core")
_RENAMED = {"ntasks-per-tres": "ntasks_per_gpu", "sockets-per-node": "sockets_per_node"}


def _spell_minutes(seconds: int) -> str:
    if seconds == timelimit.UNLIMITED:
        return "UNLIMITED"
    days, rest = divmod(seconds, 86400)
    clock = "%02d:%02d:%02d" % (rest // 3600, rest // 60 % 60, rest % 60)
    return "%d-%s" % (days, clock) if days else clock


def _spell_size(mebibytes: int) -> str:
    if mebibytes == 0:
        return "0?"
    units = "MGTP"
    place = 0
    while mebibytes % 1024 == 0 and place < 3:
        mebibytes, place = mebibytes // 1024, place + 1
    return "%d%s" % (mebibytes, units[place] if place else "")


def _text(field: str) -> Setter:
    """Kept as typed; empty text means not asked for."""

    def set_text(asked, value):
        asked.fields[field] = value or None
        return value or ""

    return set_text


def _extra(name: str, check: Callable[[str], Any] | None = None) -> Setter:
    """Shown or exported, without effect on the result."""

    def set_extra(asked, value):
        shown = check(value or "") if check else value
        asked.extra[name] = value or ""
        return shown if isinstance(shown, str) else (value or "set")

    return set_extra


def _flag(field: str, on: Any = True) -> Setter:
    def set_flag(asked, _value):
        asked.fields[field] = on
        return "set"

    return set_flag


def _own(name: str) -> Setter:
    """For the command itself."""

    def set_own(asked, value):
        asked.other[name] = True if value is None else value
        return "set" if value is None else value

    return set_own


def _positive(name: str) -> Setter:
    field = _RENAMED.get(name, name.replace("-", "_"))

    def set_count(asked, value):
        count = numbers.positive(value, "--" + name)
        if name == "ntasks" and count < 0:
            raise Invalid("invalid number of tasks (-n %d)" % count, 1)
        asked.fields[field] = count
        return str(count)

    return set_count


def _own_count(name: str, what: str, parse=numbers.natural, empty: int = 0) -> Setter:
    def set_count(asked, value):
        asked.other[name] = parse(value, what) if value else empty if value is None else parse(value, what)
        return str(asked.other[name])

    return set_count


def _size(field: str, option: str) -> Setter:
    def set_size(asked, value):
        asked.fields[field] = memory.size(value, option)
        return _spell_size(asked.fields[field])

    return set_size


def _limit(field: str, option: str) -> Setter:
    def set_limit(asked, value):
        asked.fields[field] = timelimit.limit(value, option)
        return _spell_minutes(asked.fields[field])

    return set_limit


def _moment(field: str) -> Setter:
    def set_moment(asked, value):
        asked.fields[field] = when.parse(value, field, asked.now, *asked.zone)
        return asked.spell_time(asked.fields[field])

    return set_moment


def _gpus(field: str) -> Setter:
    def set_gpus(asked, value):  # parsed by `request`, which knows what the cluster has
        asked.gres[field] = value
        return value or ""

    return set_gpus


def _gres(asked, value):
    if value in ("help", "list"):
        raise Invalid("", 0, out=asked.gres_help())
    asked.gres["gres"] = value
    if value == "none":
        return value
    return ",".join(item if item.startswith("gres:") else "gres:" + item for item in (value or "").split(","))


def _nodes(asked, value):
    low, high = numbers.nodes(value)
    asked.fields["nodes_min"], asked.fields["nodes_max"] = low, high
    return str(low) if low == high else "%d-%d" % (low, high)


def _sockets(asked, value):
    found = numbers.sockets(value)
    for field, count in zip(("sockets_per_node", "cores_per_socket", "threads_per_core"), found, strict=True):
        if count is not None:
            asked.fields[field] = count
    asked.other["extra-node-info"] = found
    return ":".join("" if count is None else str(count) for count in found).rstrip(":") or "unset"


def _dependency(asked, value):
    asked.dependency = value
    return value or ""


def _array(asked, value):
    asked.array = value
    return value or ""


def _signal(asked, value):
    signum, before, batch, reservation = signals.parse(value)
    asked.signal = (signum, before, batch, reservation)
    letters = ("R" if reservation else "") + ("B" if batch else "")
    return (letters + ":" if letters else "") + signals.NAMES.get(signum, str(signum)) + ("" if before == 60 else "@%d" % before)


def _mail_type(asked, value):
    asked.fields["mail_type"] = words.mail_types(value)
    return ",".join(asked.fields["mail_type"]) or "NONE"


def _exclusive(asked, value):
    asked.fields["exclusive"], asked.fields["oversubscribe"] = words.exclusive(value), False
    return {"node": "exclusive"}.get(asked.fields["exclusive"], asked.fields["exclusive"])


def _oversubscribe(asked, _value):
    asked.fields["exclusive"], asked.fields["oversubscribe"] = "", True
    return "oversubscribe"


def _parsed(field: str, parse: Callable[[str], Any]) -> Setter:
    def set_parsed(asked, value):
        asked.fields[field] = parse(value)
        return asked.fields[field] if isinstance(asked.fields[field], str) else (value or "set").lower()

    return set_parsed


def _nice(asked, value):
    number = 100 if value is None or value == "" else numbers.leading(value)
    if abs(number) > 2147483645:
        raise Invalid("Invalid --nice value, out of range (+/- 2147483645)")
    asked.fields["nice"] = number
    return str(number)


def _priority(asked, value):
    number = 4294967293 if value.upper() == "TOP" else numbers.leading(value)
    if number < 0:
        raise Invalid("Priority must be >= 0")
    if number >= 4294967294:
        raise Invalid("Priority must be < 4294967294")
    asked.fields["priority"] = number
    return str(number)


def _core_spec(name: str, spoken: str) -> Setter:
    def set_spec(asked, value):
        count = numbers.natural(value, "--" + name) if name == "core-spec" else numbers.positive(value, "--" + name)
        asked.say("error", "Ignoring %s since it's not allowed by configuration (AllowSpecResourcesUsage = No)" % spoken)
        return str(count)

    return set_spec


def _switches(asked, value):
    count, at, seconds = value.partition("@")
    number = numbers.positive(count, "--switches")
    asked.fields["switches"] = "%d@%s" % (number, seconds) if at else str(number)
    return asked.fields["switches"]


def _chdir(asked, value):
    asked.chdir = value if value.startswith("/") else asked.cwd.rstrip("/") + "/" + value
    return asked.chdir


def _file(field: str) -> Setter:
    def set_file(asked, value):
        if value.lower() == "none" and value in ("none", "None", "NONE"):
            value = "/dev/null"
        asked.fields[field] = value
        return value

    return set_file


def _wait_all_nodes(asked, value):
    number = numbers.natural(value, "--wait-all-nodes")
    if number > 1:
        raise invalid("wait-all-nodes")
    asked.fields["wait_all_nodes"] = number
    return str(number)


def _get_user_env(asked, value):
    if value and not re.match(r"[ \t]*[+-]?[0-9]*[sSlL]?$|list$", value):
        raise invalid("get-user-env")
    asked.fields["get_user_env"] = True
    return value or "set"


def _propagate(asked, value):
    asked.propagate = value or "ALL"
    return asked.propagate


def _delay_boot(asked, value):
    asked.fields["delay_boot"] = timelimit.delay(value, "delay-boot")
    return _spell_minutes(asked.fields["delay_boot"])


def _root_only(name: str) -> Setter:
    def refuse(asked, _value):
        if asked.uid:
            raise Invalid("--%s only permitted by root user" % name)
        raise Invalid("--%s is not supported: a job runs as the user who submits it" % name, 1)

    return refuse


def _refused(name: str, reason: str) -> Setter:
    def refuse(_asked, _value):
        raise Invalid("--%s is not supported: %s" % (name, reason), 1)

    return refuse


def _x11(asked, value):
    """Slurm's words where it is configured without; another value than these is none to it."""
    if value in X11_NODES:
        if not asked.call.env.get("DISPLAY"):
            raise Invalid(NO_DISPLAY)
        asked.other["x11"] = value or "all"
    return value or "all"


def _no_allocate(_asked, _value):
    raise Invalid("must specify a node list with -Z, --no-allocate.", 1)


def _reboot(asked, _value):
    first = ("error", "rebooting of nodes is only allowed for admins")
    raise Invalid(LEADS[asked.command] + "Access/permission denied", 1, before=(first,))


def _hint(asked, value):
    asked.fields["hint"] = words.hint(value)
    return asked.fields["hint"]


def _kill_command(asked, value):
    signum = 15 if value is None else signals.number(value)
    if not signum:
        raise invalid("kill-command")
    asked.other["kill_command"] = signum
    return str(signum)


def _clusters(asked, value):
    asked.other["clusters"] = value
    return value


def _verbose(asked, value):
    asked.other["verbose"] = asked.other.get("verbose", 0) + (int(value) if value else 1)
    return str(asked.other["verbose"])


def _umask(asked, value):
    if re.match("0?[0-7]{1,4}$", value or ""):
        asked.fields["umask"] = int(value, 8)
    return value or ""


def _requeue(on: bool) -> Setter:
    def set_requeue(asked, _value):
        asked.fields["requeue"] = on
        return "requeue" if on else "no-requeue"

    return set_requeue


def _bell(on: bool) -> Setter:
    def set_bell(asked, _value):
        asked.other["bell"] = on
        return "set"

    return set_bell


def _immediate(asked, value):
    asked.fields["immediate"] = 1 if not value else numbers.natural(value, "immediate")
    return str(asked.fields["immediate"])


def _answer(text: Callable[[Any], str]) -> Setter:
    """Options that are answered where they stand: what comes after them is not looked at."""

    def answer(asked, _value):
        raise Invalid("", 0, out=text(asked))

    return answer


def _wait(asked, value):
    """sbatch waits for the job; srun's is a number of seconds."""
    asked.other["wait"] = True if value is None else numbers.natural(value, "--wait")
    return "set" if value is None else str(asked.other["wait"])


def _send_libs(asked, value):
    if value and value.lower() not in ("yes", "no", "y", "n"):
        raise invalid("send-libs")
    asked.other["send_libs"] = value
    return value or "set"


SETTERS: dict[str, Setter] = {
    "help": _answer(lambda asked: usage.help_text(asked.command)), "usage": _answer(lambda asked: usage.usage_text(asked.command)),
    "version": _answer(lambda asked: asked.version + "\n"),
    "account": _text("account"), "acctg-freq": _extra("acctg-freq", words.acctg_freq), "array": _array, "begin": _moment("begin"),
    "batch": _refused("batch", "the batch host is the first node of the allocation"), "bb": _extra("bb"), "bbf": _extra("bbf"),
    "bell": _bell(True), "no-bell": _bell(False), "chdir": _chdir, "cluster-constraint": _extra("cluster-constraint"),
    "clusters": _clusters, "comment": _text("comment"), "constraint": _text("constraint"), "context": _extra("context"),
    "container": _refused("container", "no container runtime is configured"), "contiguous": _flag("contiguous"),
    "core-spec": _core_spec("core-spec", "-S"), "thread-spec": _core_spec("thread-spec", "--thread-spec"),
    "cpu-freq": _parsed("cpu_freq", words.cpu_freq), "deadline": _moment("deadline"), "delay-boot": _delay_boot,
    "dependency": _dependency, "distribution": _parsed("distribution", words.distribution), "error": _file("stderr"),
    "exclude": _own("exclude"), "exclusive": _exclusive, "export": _own("export"), "export-file": _own("export_file"),
    "extra-node-info": _sockets, "get-user-env": _get_user_env, "gid": _root_only("gid"), "uid": _root_only("uid"),
    "gpu-bind": _parsed("gpu_bind", words.gpu_bind), "gpu-freq": _extra("gpu-freq", words.gpu_freq), "gpus": _gpus("gpus"),
    "gpus-per-node": _gpus("gpus_per_node"), "gpus-per-socket": _gpus("gpus_per_socket"), "gpus-per-task": _gpus("gpus_per_task"),
    "gres": _gres, "gres-flags": _parsed("gres_flags", words.gres_flags), "hint": _hint, "hold": _flag("hold"),
    "ignore-pbs": _own("ignore_pbs"), "immediate": _immediate, "input": _file("stdin"), "job-name": _own("name"),
    "jobid": _own_count("jobid", "--jobid", numbers.positive), "kill-command": _kill_command,
    "kill-on-invalid-dep": _parsed("kill_on_invalid_dep", lambda text: words.yes_no(text, "kill-on-invalid-dep")),
    "licenses": _text("licenses"), "mail-type": _mail_type, "mail-user": _text("mail_user"), "mcs-label": _extra("mcs-label"),
    "mem": _size("mem_per_node", "mem"), "mem-per-cpu": _size("mem_per_cpu", "mem-per-cpu"),
    "mem-per-gpu": _size("mem_per_gpu", "mem-per-gpu"), "mem-bind": _extra("mem-bind", words.mem_bind),
    "network": _text("network"), "nice": _nice, "no-kill": _parsed("no_kill", words.no_kill), "no-requeue": _requeue(False),
    "no-shell": _own("no_shell"), "nodefile": _own("nodefile"), "nodelist": _own("nodelist"), "nodes": _nodes,
    "open-mode": _parsed("open_mode", words.open_mode), "output": _file("stdout"), "overcommit": _flag("overcommit"),
    "oversubscribe": _oversubscribe, "parsable": _own("parsable"), "partition": _own("partition"), "power": _extra("power"),
    "prefer": _extra("prefer"), "priority": _priority, "profile": _parsed("profile", words.profile), "propagate": _propagate,
    "qos": _text("qos"), "quiet": _own("quiet"), "reboot": _reboot, "requeue": _requeue(True), "reservation": _text("reservation"),
    "signal": _signal, "spread-job": _flag("spread"), "switches": _switches, "test-only": _own("test_only"),
    "time": _limit("time_limit", "time"), "time-min": _limit("time_min", "time-min"), "tmp": _size("tmp", "tmp"),
    "use-min-nodes": _flag("use_min_nodes"), "umask": _umask, "verbose": _verbose, "wait": _wait,
    # srun's own: the step reads them again, but what is wrong has to be said before anything is allocated
    "debugger-test": _refused("debugger-test", "there is no debugger interface"),
    "het-group": _refused("het-group", "heterogeneous jobs are not supported"),
    "kill-on-bad-exit": _own_count("kill_on_bad_exit", "--kill-on-bad-exit", empty=1),
    "msg-timeout": _own_count("msg_timeout", "--msg-timeout", numbers.positive), "no-allocate": _no_allocate,
    "relative": _own_count("relative", "--relative"), "resv-ports": _own_count("resv_ports", "--resv-port"), "send-libs": _send_libs,
    "threads": _own_count("threads", "--threads", numbers.positive),
    "wait-all-nodes": _wait_all_nodes, "wckey": _text("wckey"), "wrap": _own("wrap"), "x11": _x11,
    **{name: _positive(name) for name in _POSITIVE},
}
