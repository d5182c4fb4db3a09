"""sbatch: read the script, make the request, submit it, and with --wait stay until it has ended."""

from __future__ import annotations

import asyncio

from sbroker.api import Api, Call, Client
from sbroker.model import Job
from slurm_compat import directives, exporting
from slurm_compat.getopt import parse_argv
from slurm_compat.grammar import Invalid
from slurm_compat.request import Asked
from slurm_compat.submission import arbitrary_hosts, asked_of, clusters, from_variables, guarded, host_files, parsed, tell, test_only

_LOOKS = ("This does not look like a batch script.  The first", "line must start with #! followed by the path to an interpreter.",
          "For instance: #!/bin/sh")
_MOST = 4 << 20  # bytes of a script: max_script_size where nothing else is said
_NUL = ("The Slurm controller does not allow scripts that", "contain a NULL character '\\0'.")
_DOS = ("Batch script contains DOS line breaks (\\r\\n)", "instead of expected UNIX line breaks (\\n).")
LOOK_AGAIN = 30.0  # seconds between looks at an array that --wait waits for, so that no ended task is purged unseen


async def run(call: Call, client: Client, api: Api) -> int:
    return await guarded(call, client, lambda: _run(call, client, api))


async def _run(call: Call, client: Client, api: Api) -> int:
    line = parsed(call)
    first = asked_of(call, api)
    first.take(line.pairs, "cli")  # so that what is wrong on the command line is said first
    script, name, command = await _script(line.rest, first, client, call)
    asked = asked_of(call, api)
    variables = from_variables(call)
    if "wrap" not in first.other:
        _directives(asked, script, name, "ignore_pbs" in first.other or ("ignore-pbs", None) in variables)
    asked.take(variables, "env")
    asked.take(line.pairs, "cli")
    await host_files(asked, client)
    await arbitrary_hosts(asked, client)
    asked.check()
    await tell(asked, client)
    cluster = await clusters(asked, client, api)
    if asked.other.get("test_only"):
        return await test_only(call, client, api, asked, sbroker=directives.sbroker_lines(script.decode("utf-8", "surrogateescape")))
    environ, login = await _environ(asked, client)
    spec = asked.spec(
        name=asked.other.get("name", name.rpartition("/")[2] if command or "wrap" in asked.other else "sbatch"),
        command=command, script_args=tuple(line.rest[1:]), export=asked.other.get("export"),
        get_user_env=login or bool(asked.fields.get("get_user_env")),
        **({"extra": dict(asked.extra, **{"export-file": asked.other["export_file"]})} if asked.other.get("export_file") else {}),
        sbroker=directives.sbroker_lines(script.decode("utf-8", "surrogateescape")),
    )
    job = await api.submit(spec, script, exporting.packed(environ))
    number = job.array_id or job.id
    await _announce(asked, client, number, cluster)
    return await _wait(api, job, number) if asked.other.get("wait") else 0


async def _announce(asked: Asked, client: Client, number: int, cluster: str | None) -> None:
    if asked.other.get("quiet"):
        return
    if asked.other.get("parsable"):
        await client.out("%d%s\n" % (number, ";" + cluster if cluster else ""))
    else:
        await client.out("Submitted batch job %d%s\n" % (number, " on cluster " + cluster if cluster else ""))


def _directives(asked: Asked, script: bytes, name: str, ignore_others: bool) -> None:
    """Take the options of the script's own lines."""
    words = directives.scan(script.decode("utf-8", "surrogateescape"), name)
    inside = parse_argv("sbatch", words.sbatch)
    if inside.rest:
        raise directives.invalid_directive(inside.rest[0])
    asked.take([pair for pair in inside.pairs if pair[0] not in ("help", "usage", "version", "wrap")], "script")
    if not (ignore_others or asked.other.get("ignore_pbs")):
        asked.take(directives.pbs_options(words.pbs), "script")
        asked.take(directives.bsub_options(words.bsub), "script")


async def _script(operands: list[str], first: Asked, client: Client, call: Call) -> tuple[bytes, str, str]:
    """(script, its name, its path if it has one). Raises Invalid for what Slurm does not take as a script."""
    if "wrap" in first.other:
        if operands:
            raise Invalid("Script arguments not permitted with --wrap option", 1)
        text = "#!/bin/sh\n# This script was created by sbatch --wrap.\n\n%s\n" % first.other["wrap"]
        return text.encode("utf-8", "surrogateescape"), "wrap", ""
    if not operands:
        script, path = await client.stdin(), ""
    else:
        script, path = await _find(operands[0], client, call)
    _examine(script)
    return script, path or "-", path


async def _find(name: str, client: Client, call: Call) -> tuple[bytes, str]:
    """The script's bytes and path: a bare name is looked for in the working directory, then along PATH."""
    if "/" in name or not name or name == "-":
        places = [name]
    else:
        folders = [call.cwd, *call.env.get("PATH", "").split(":")]
        places = [folder.rstrip("/") + "/" + name for folder in folders if folder]
    if name == "/dev/stdin":
        return await client.stdin(), name
    for path in places:
        try:
            return await client.read(path, _MOST), path
        except IsADirectoryError:
            return b"", path
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if isinstance(error, PermissionError) and len(places) > 1:
                continue  # a folder of PATH that is closed to the user
            raise Invalid("Unable to open file %s" % path, 1) from error
    raise Invalid("Unable to open file %s" % name, 1)


def _examine(script: bytes) -> None:
    lines: tuple[str, ...] = ()
    if not script:
        lines = ("Batch script is empty!",)
    elif not script.startswith(b"#!"):
        lines = _LOOKS
    elif b"\0" in script:
        lines = _NUL
    elif b"\r\n" in script:
        lines = _DOS
    elif len(script) > _MOST:
        lines = ("Batch job submission failed: Pathname of a file, directory or other parameter too long",)
    if lines:
        raise Invalid(lines[-1], 1, before=tuple(("error", line) for line in lines[:-1]))


async def _environ(asked: Asked, client: Client) -> tuple[dict[str, str], bool]:
    """What the user exports, and whether the node adds a login's variables."""
    path = asked.other.get("export_file")
    if path is None:
        return exporting.exported(asked.call.env, asked.other.get("export"))
    try:
        return exporting.from_file(await client.read("/dev/fd/" + path if path.isdecimal() and int(path) > 2 else path)), False
    except OSError as error:
        raise Invalid("Could not open user environment file %s" % path, 1) from error


async def _wait(api: Api, job: Job, number: int) -> int:
    """The exit code of --wait: the job's, the highest of an array's tasks; 1 for one that was killed."""
    codes: dict[int, int] = {}
    while True:
        records = api.view.array(number) if job.array_id else [job for job in (api.view.jobs.get(number),) if job is not None]
        left = None
        for record in records:
            if record.state.ended and not record.completing:
                codes[record.id] = exit_code(record)
            else:
                left = record.id
        if left is None:
            return max(codes.values(), default=0)
        try:
            await api.changed(left, LOOK_AGAIN)
        except asyncio.TimeoutError:
            continue


def exit_code(job: Job) -> int:
    """What --wait makes of an ended job."""
    if job.exit.signal or (job.state.value not in ("COMPLETED", "FAILED") and not job.exit.code):
        return 1
    return job.exit.code or (0 if job.state.value == "COMPLETED" else 1)
