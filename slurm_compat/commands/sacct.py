"""sacct: what has been accounted of jobs and steps. Options here; selection, fields and layout in `slurm_compat.acct_*`."""

from __future__ import annotations

import time

from sbroker.api import Api, Call, Client
from sbroker.errors import Code, Refused
from slurm_compat import acct_format, getopt
from slurm_compat.acct_fields import BRIEF, DEFAULT, LONG
from slurm_compat.acct_rows import Row, Scope, is_batch_job, rows
from slurm_compat.acct_select import BadSelection, Selection, select
from slurm_compat.jobnumbers import World
from slurm_compat.messages import control_sentence
from slurm_compat.releases import version
from slurm_compat.show.scene import clock
from slurm_compat.timefmt import Times

RULE = "-" * 80
UNITS = "KMGTP"
USAGE = "Usage: sacct [options]\n\tUse --help for help\n"
HELP = """\
sacct [<OPTION>]
     Valid <OPTION> values are:
     -a, --allusers             jobs of all users (the default for root, and with -j)
     -A, --accounts=LIST        jobs of these accounts
     -b, --brief                only JobID, State and ExitCode
     -B, --batch-script         print batch scripts; needs -j
     -C, --constraints=LIST     jobs that asked for all these features
         --delimiter=CHARS      what separates fields with -p or -P
     -D, --duplicates           every run of a requeued job
     -e, --helpformat           list the fields that -o takes
     -E, --endtime=TIME         jobs before this time
         --env-vars             print environments of batch scripts; needs -j
     -F, --flags=LIST           jobs by what started them
     -g, --gid, --group=LIST    jobs of these groups
     -h, --help                 this text
     -i, --nnodes=MIN[-MAX]     jobs that had so many nodes
     -I, --ncpus=MIN[-MAX]      jobs that had so many CPUs
     -j, --jobs=LIST            these jobs, array tasks (12_3) or steps (12.0, 12.batch)
     -k, --timelimit-min=TIME   jobs with this time limit, or, with -K, no less
     -K, --timelimit-max=TIME   … and no more
     -l, --long                 many fields
     -L, --allclusters          accepted: there is one cluster
     -M, --clusters=LIST        of these clusters
     -n, --noheader             no header
         --name=LIST            jobs with these names
         --noconvert            do not turn 2048M into 2G
     -N, --nodelist=LIST        jobs that ran on any of these nodes
     -o, --format=LIST          fields, each with %WIDTH behind it if wanted (negative: to the left)
     -p, --parsable             bars between fields and at the end
     -P, --parsable2            bars between fields
     -q, --qos=LIST             jobs of these qos
     -r, --partition=LIST       jobs of these partitions
     -s, --state=LIST           jobs in these states within the time window
     -S, --starttime=TIME       jobs after this time; midnight, or with -s now, or with -j ever
     -T, --truncate             cut times at the window
     -u, --uid, --user=LIST     jobs of these users; yours by default
         --units=K|M|G|T|P      print sizes so
     -v, --verbose              say which window was used
     -V, --version              the release of Slurm that is imitated
     -W, --wckeys=LIST          jobs with these keys
     -X, --allocations          jobs without their steps
"""


async def run(call: Call, client: Client, api: Api) -> int:
    """One sacct call; the exit code."""
    try:
        parsed = getopt.parse("sacct", list(call.argv), call.env)
        options = parsed.options
        early = _early(parsed, api)
        if early is not None:
            await client.out(early)
            return 0
        _check(parsed)
        selection = select(options, call, api.now(), getattr(api.config, "cluster", ""), _qos(api))
    except getopt.BadOption as error:
        await client.out(error.text, 2)
        return error.code
    except BadSelection as error:
        await client.out(error.text, 2)
        return 1
    if options.get("verbose"):
        await client.out(_window(selection, call), 2)
    records = [] if selection.empty else [record for record in await api.history(selection.query) if selection.keeps_job(record)]
    truncate = "truncate" in options
    scope = Scope(
        World(api.view.partitions, api.view.nodes),
        call.env,
        api.now(),
        getattr(api.config, "cluster", ""),
        str(options.get("units") or ""),
        "noconvert" not in options,
        selection.start if truncate else None,
        selection.end if truncate else None,
    )
    shown = [
        row
        for row in rows(scope, records, steps="allocations" not in options, duplicates="duplicates" in options)
        if selection.keeps_row(row)
    ]
    if "batch-script" in options or "env-vars" in options:
        return await _documents(client, api, shown, script="batch-script" in options)
    return await _table(call, client, api, parsed, shown)


def _early(parsed: getopt.Raw, api: Api) -> str | None:
    """What -V, -h, -e and --usage print, whatever else stands there."""
    for name, _ in parsed.pairs:
        if name == "version":
            return version(api.config.imitate) + "\n"
        if name == "help":
            return HELP
        if name == "usage":
            return USAGE
    if "helpformat" in parsed.options and not parsed.rest:
        return acct_format.help_text()
    return None


def _check(parsed: getopt.Raw) -> None:
    """Raises BadSelection for what does not depend on the accounting."""
    options = parsed.options
    if parsed.rest:
        raise BadSelection("\n".join(["sacct: error: Unknown arguments:", *(f"sacct: error:  {word}" for word in parsed.rest)]))
    if "completion" in options:
        raise BadSelection("Slurm job completion is disabled")
    if "file" in options:
        raise BadSelection(f"{options['file']} is not a valid file")
    for name in ("json", "yaml"):
        if name in options:
            raise BadSelection(f"sacct: error: --{name} is not available here yet")
    units = options.get("units")
    if units is not None and (len(str(units)) != 1 or str(units).upper() not in UNITS):
        raise BadSelection(f"sacct: error: Invalid unit type '{units}'. Possible options are '{UNITS}'\nsacct: fatal: Invalid unit type")
    if units is not None:
        options["units"] = str(units).upper()
    hetjob = options.get("whole-hetjob")
    if hetjob not in (None, True, "yes", "no"):
        raise BadSelection(f'sacct: error: Invalid --whole-hetjob value "{hetjob}". Valid values: [yes|no].')
    if not options.get("jobs"):
        for name, what in (("batch-script", "scripts"), ("env-vars", "environment")):
            if name in options:
                raise BadSelection(f"sacct: fatal: When requesting job {what} you must also request specific jobs with the '-j' option.")


def _qos(api: Api) -> tuple[str, ...]:
    return ("normal", *(name for name in getattr(api.config, "qos", None) or () if name != "normal"))


def _window(selection: Selection, call: Call) -> str:
    local, _ = clock(call.env)

    def shown(moment: float | None) -> str:
        return "Epoch 0" if moment is None else time.strftime("%a %b %e %H:%M:%S %Y", local(moment))

    return f"sacct: Jobs Eligible in the time window from {shown(selection.start)} to {shown(selection.end)}\n"


def _formats(parsed: getopt.Raw) -> list[str]:
    """-o, then what -b and -l stand for; SACCT_FORMAT and the default only without any of them."""
    options = parsed.options
    out = [str(value or "") for name, value in parsed.pairs if name == "format"]
    if "brief" in options:
        out.append(BRIEF)
    if "long" in options:
        out.append(LONG)
    if not out:
        out.append(str(options["format"]) if "format" in options else DEFAULT)
    return out


async def _table(call: Call, client: Client, api: Api, parsed: getopt.Raw, shown: list[Row]) -> int:
    options = parsed.options
    try:
        chosen = acct_format.columns(_formats(parsed))
    except acct_format.BadField as error:
        await client.out(f'sacct: error: Invalid field requested: "{error}"\n', 2)
        return 1
    style = [name for name, _ in parsed.pairs if name in ("parsable", "parsable2")]
    bar = str(options.get("delimiter", "|")) if style else None
    printer = acct_format.Printer(chosen, Times(call.env, api.now()), bar, last=bool(style) and style[-1] == "parsable")
    text = [] if "noheader" in options else [printer.header()]
    text += [printer.row(row) for row in shown]
    await client.out("".join(text))
    return 0


async def _documents(client: Client, api: Api, shown: list[Row], *, script: bool) -> int:
    """Batch scripts or environments, one a job."""
    for row in shown:
        if row.step is not None:
            continue
        head = f"Batch Script for {row.id()}" if script else f"Environment used for {row.id()} (must be batch to display)"
        body = "NONE\n"
        if is_batch_job(row.job):
            try:
                if script:
                    body = (await api.script(row.job.id, row.job)).decode("utf-8", "surrogateescape")
                else:
                    body = (await api.environ(row.job.id, row.job)).replace(b"\0", b"\n").decode("utf-8", "surrogateescape")
            except Refused as error:
                if error.code is not Code.SCRIPT_MISSING:
                    await client.out(f"sacct: error: {control_sentence(error)}\n", 2)
                    return 1
        await client.out(f"{head}\n{RULE}\n{body}\n")
    return 0
