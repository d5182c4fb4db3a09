"""sattach and sbcast: argv → what they want, or their refusal. Pure; standard library, Python 3.6."""

from slurm_compat import getopt, hostlist
from slurm_compat.grammar import Invalid, numbers
from slurm_compat.releases import version

SATTACH_USAGE = "Usage: sattach [options] <jobid.stepid>\n"
SATTACH_HELP = (
    SATTACH_USAGE
    + """\
      --input-filter=taskid  send stdin to only the specified task
      --output-filter=taskid only print stdout from the specified task
      --error-filter=taskid  only print stderr from the specified task
  -l, --label        prepend task number to lines of stdout & stderr
      --layout       print task layout info and exit (does not attach to tasks)
  -Q, --quiet        quiet mode (suppress informational messages)
  -v, --verbose      verbose mode (multiple -v's increase verbosity)
  -V, --version      print the Slurm version and exit

Help options:
  -h, --help         print this help message
  -u, --usage        print a brief usage message
"""
)
SBCAST_USAGE = "Usage: sbcast [-CfFjpvV] SOURCE DEST\n"
SBCAST_HELP = """\
Usage: sbcast [OPTIONS] SOURCE DEST
  -C, --compress[=lib]  compress the file being transmitted
  --exclude=<path_list> shared object paths to be excluded
  -f, --force           replace destination file as required
  -F, --fanout=num      specify message fanout
  -j, --jobid=#[+#][.#] specify job ID with optional hetjob offset and/or step ID
  -p, --preserve        preserve modes and times of source file
  --send-libs[=yes|no]  autodetect and broadcast executable's shared objects
  -s, --size=num        block size in bytes (rounded off)
  -t, --timeout=secs    specify message timeout (seconds)
  -v, --verbose         provide detailed event logging
  -V, --version         print version information and exit

Help options:
  --help                show this help message
  --usage               display brief usage message
"""


class _Say(Exception):
    """Answer with this and end: (out, err, code)."""


def _parsed(command, call, imitate):
    try:
        raw = getopt.parse(command, call["argv"], call["env"])
    except getopt.BadOption as bad:
        raise _Say("", bad.text, bad.code)
    if raw.options.get("version"):
        raise _Say(version(imitate) + "\n", "", 0)
    return raw


def _answer(fn, call, imitate):
    try:
        return fn(call, imitate)
    except _Say as say:
        return {"refuse": {"out": say.args[0], "err": say.args[1], "code": say.args[2]}}


_STEPS = {"batch": -5, "extern": -4}  # by the numbers of the record


def parse_sattach(call, imitate="22.05"):
    """argv and env → {"job", "step", "label", "layout", "input", "output", "error" (ranks or None), "quiet"} or {"refuse": …}."""
    return _answer(_sattach, call, imitate)


def _sattach(call, imitate):
    raw = _parsed("sattach", call, imitate)
    if raw.options.get("help"):
        raise _Say(SATTACH_HELP, "", 0)
    if raw.options.get("usage"):
        raise _Say(SATTACH_USAGE, "", 0)
    if len(raw.rest) != 1:
        raise _Say(SATTACH_USAGE, "sattach: error: too many parameters\n", 1)
    job, dot, step = raw.rest[0].partition(".")
    if not dot:
        raise _Say(SATTACH_USAGE, "sattach: error: Failed to parse stepid from command line options\n", 1)
    if step not in _STEPS and not step[:1].isdigit():
        raise _Say("", "sattach: fatal: Bad step specified: %s\n" % job, 1)
    found: dict = {"job": numbers.leading(job), "step": _STEPS.get(step, numbers.leading(step))}
    for name, key in (("input-filter", "input"), ("output-filter", "output"), ("error-filter", "error")):
        value = raw.options.get(name)
        try:
            found[key] = None if value is None else numbers.natural(value, "--" + name)
        except Invalid as bad:
            raise _Say("", bad.text("sattach"), bad.code)
    for name in ("label", "layout", "quiet"):
        found[name] = bool(raw.options.get(name))
    found["verbose"] = raw.options.get("verbose") or 0
    return found


def parse_sbcast(call, imitate="22.05"):
    """argv and env → {"job" (str or None), "source", "dest", "force", "preserve", "verbose"} or {"refuse": …}."""
    return _answer(_sbcast, call, imitate)


def _sbcast(call, imitate):
    raw = _parsed("sbcast", call, imitate)
    if raw.options.get("help"):
        raise _Say(SBCAST_HELP, "", 0)
    if raw.options.get("usage"):
        raise _Say(SBCAST_USAGE, "", 0)
    if len(raw.rest) != 2:
        raise _Say("", 'Need two file names, have %d names\nTry "sbcast --help" for more information\n' % len(raw.rest), 1)
    job = raw.options.get("jobid") or call["env"].get("SLURM_JOB_ID") or call["env"].get("SLURM_JOBID")
    if not job:
        text = "Need a job id to run this command.  Run from within a Slurm job or use the --jobid option."
        raise _Say("", "sbcast: error: %s\n" % text, 1)
    return {
        "job": str(job).partition(".")[0],
        "source": raw.rest[0],
        "dest": raw.rest[1],
        "force": bool(raw.options.get("force")),
        "preserve": bool(raw.options.get("preserve")),
        "verbose": raw.options.get("verbose") or 0,
    }


def layout_text(layout):
    """sattach --layout."""
    out = [
        "Job step layout:\n\t%d tasks, %d nodes (%s)\n\n"
        % (sum(map(len, layout["tasks"])), len(layout["nodes"]), hostlist.compress(layout["nodes"]))
    ]
    for index, ranks in enumerate(layout["tasks"]):
        node = layout["nodes"][index]
        out.append("\tNode %d (%s), %d task(s): %s \n" % (index, node, len(ranks), " ".join(map(str, ranks))))
    return "".join(out)
