"""salloc: get an allocation, run the user's command or shell with it, give it back."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal

from msgspec import structs

from sbroker.api import Api, Call, Client
from sbroker.errors import BrokenOff
from slurm_compat import environ
from slurm_compat.allocation import REVOKING, Allocation, Over, first_of
from slurm_compat.grammar import Invalid
from slurm_compat.request import Asked
from slurm_compat.submission import arbitrary_hosts, asked_of, clusters, exit_error, from_variables, guarded, host_files, parsed, tell

BELL_AFTER = 10.0  # seconds of waiting after which the bell rings without being asked
# --chdir: a shell changes the folder, for the client cannot; it says itself what salloc says of a command that is not there
_ELSEWHERE = """cd -- "$0" && if command -v -- "$1" >/dev/null 2>&1; then exec "$@"; fi
printf 'salloc: error: _fork_command: Unable to find command "%s"\\n' "$1" >&2; exit 1"""
_QUIET_DEATHS = (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGQUIT)  # a command that died of these counts as ended well


async def run(call: Call, client: Client, api: Api) -> int:
    return await guarded(call, client, lambda: _run(call, client, api))


async def _run(call: Call, client: Client, api: Api) -> int:
    line = parsed(call)
    asked = asked_of(call, api)
    asked.take(from_variables(call), "env")
    asked.take(line.pairs, "cli")
    await host_files(asked, client)
    await arbitrary_hosts(asked, client)
    asked.check()
    await tell(asked, client)
    await clusters(asked, client, api)
    if asked.fields.get("get_user_env"):
        raise Invalid("SlurmdUser must be root to use --get-user-env", 1)
    if asked.chdir is not None:
        await _enter(client, asked.chdir, asked)
    no_shell = bool(asked.other.get("no_shell"))
    allocation = Allocation(call, client, api, asked)
    spec = asked.spec(name=asked.other.get("name", "no-shell" if no_shell else "interactive"), kind="alloc")
    if no_shell:
        spec = structs.replace(spec, extra={**spec.extra, "no-shell": ""})  # nobody has to stay for it
    try:
        await allocation.obtain(spec)
        await allocation.ready()
        await allocation.info("Granted job allocation %d" % allocation.number)
        if no_shell:
            allocation.number = 0  # stays after us
            return 0
        await _ring(asked, allocation)
        return await _serve(allocation, line.rest)
    except Over as over:
        return over.code
    except (BrokenOff, asyncio.CancelledError):
        allocation.number = 0  # the client comes back to its command: nothing is given back
        raise
    finally:
        await allocation.signals.close()
        if allocation.number:
            await allocation.release(1, 0)


async def _enter(client: Client, folder: str, asked: Asked) -> None:
    """--chdir has to be there before anything is asked for. Raises Invalid."""
    try:
        await client.read(folder + "/.")
    except IsADirectoryError:
        return
    except OSError as error:
        raise Invalid("chdir(%s): %s" % (folder, os.strerror(error.errno or 0)), 1) from error


async def _ring(asked: Asked, allocation: Allocation) -> None:
    wanted = asked.other.get("bell", allocation.waited > BELL_AFTER)
    if wanted and 1 in asked.call.ttys:
        await allocation.client.out("\a")


def _shell(call: Call) -> str:
    try:
        return pwd.getpwuid(call.uid).pw_shell or "/bin/sh"
    except KeyError:
        return call.env.get("SHELL") or "/bin/sh"


async def _serve(allocation: Allocation, command: list[str]) -> int:
    """Run the command in the user's terminal until it ends; the exit code."""
    call, client, api, asked = allocation.call, allocation.client, allocation.api, allocation.asked
    variables = {**call.env, **environ.alloc_environ(await api.describe(allocation.number))}
    argv = list(command) or [_shell(call)]
    if asked.chdir is not None:
        argv = ["/bin/sh", "-c", _ELSEWHERE, asked.chdir, *argv]
    await client.catch(REVOKING)
    running = asyncio.ensure_future(client.spawn(argv, variables))
    try:
        released = await _watch(allocation, running, bool(command))
        if released is not None:
            return released
        try:
            status = running.result()
        except OSError:
            await allocation.error('_fork_command: Unable to find command "%s"' % argv[0])
            return await _relinquish(allocation, 1, 0, exit_error(call))
        return await _ended(allocation, status)
    finally:
        running.cancel()


async def _watch(allocation: Allocation, running: asyncio.Future[int], has_command: bool) -> int | None:
    """Mind signals and the allocation while the command runs. An exit code if salloc ends before it."""
    client, told = allocation.client, False
    while not running.done():
        signals, gone = allocation.signals.next(), asyncio.ensure_future(client.gone())
        try:
            if told:
                await first_of(running, signals, gone)
            else:
                await first_of(running, signals, gone, allocation.changed())
            if gone.done():
                raise ConnectionError("the user's side is gone")
        finally:
            gone.cancel()
        if signals.done():
            signum = signals.result()
            if signum == signal.SIGHUP:
                return await _relinquish(allocation, 0, signum, exit_error(allocation.call))
            if signum == signal.SIGTERM:
                await client.kill(signum)
        job = allocation.job()
        if not told and not running.done() and (job is None or job.state.ended or job.completing):
            told = True
            await allocation.revoked()
            await _pass_on(allocation, has_command)
    allocation.asked.other["revoked"] = told
    return None


async def _pass_on(allocation: Allocation, has_command: bool) -> None:
    """The allocation is gone: signal the command if --kill-command asks for it, hang up an interactive shell."""
    wanted = allocation.asked.other.get("kill_command")
    if wanted is None and not has_command and 0 in allocation.call.ttys:
        wanted = signal.SIGHUP
    if wanted:
        await allocation.client.kill(int(wanted))


async def _ended(allocation: Allocation, status: int) -> int:
    signum = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = 0 if signum else os.WEXITSTATUS(status)
    shown = code if not signum else 0 if signum in _QUIET_DEATHS else 1
    if allocation.asked.other.get("revoked"):
        return shown
    return await _relinquish(allocation, code, signum, shown)


async def _relinquish(allocation: Allocation, code: int, signum: int, shown: int) -> int:
    """Give the allocation back with the command's end as the job's; `shown` is what salloc returns."""
    await allocation.info("Relinquishing job allocation %d" % allocation.number)
    await allocation.release(code, signum)
    allocation.number = 0
    return shown
