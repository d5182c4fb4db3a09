"""scontrol: shows and changes jobs, nodes and partitions. Options and keywords here; what they do in `slurm_compat.control`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sbroker.api import Api, Call, Client
from slurm_compat import getopt
from slurm_compat.control import help as help_text
from slurm_compat.control import misc, verbs
from slurm_compat.control.session import Session
from slurm_compat.control.shows import show
from slurm_compat.control.words import BadQuotes, split
from slurm_compat.releases import release
from slurm_compat.update import update

Act = Callable[[Session, str, list[str]], Awaitable[None]]


def _flag(**changes: object) -> Act:
    async def act(session: Session, word: str, args: list[str]) -> None:
        for name, value in changes.items():
            setattr(session, name, value)

    return act


# least letters that name it, name, action, least and most arguments; the first row that fits a word is meant
KEYWORDS: tuple[tuple[int, str, Act, int, int], ...] = (
    (5, "abort", misc.shutdown, 0, 0),
    (2, "all", _flag(all=True), 0, 0),
    (3, "cancel_reboot", misc.cancel_reboot, 0, 1),
    (2, "cluster", misc.cluster, 0, 1),
    (2, "completing", misc.completing, 0, 0),
    (2, "create", misc.create, 0, 99),
    (1, "details", _flag(detail=True), 0, 0),
    (3, "delete", misc.delete, 0, 1),
    (2, "errnumstr", misc.errnumstr, 0, 1),
    (2, "exit", _flag(done=True), 0, 0),
    (3, "fsdampeningfactor", misc.setter("fsdampeningfactor"), 1, 1),
    (6, "getent", misc.getent, 0, 1),
    (2, "help", misc.help_, 0, 99),
    (2, "hide", _flag(all=False), 0, 0),
    (4, "hold", verbs.hold, 1, 99),
    (5, "holdu", verbs.hold, 1, 99),
    (1, "listpids", misc.listpids, 0, 2),
    (1, "notify", misc.notify, 2, 99),
    (1, "oneliner", _flag(oneliner=True), 0, 0),
    (3, "pidinfo", misc.pidinfo, 0, 1),
    (3, "ping", misc.ping, 0, 0),
    (4, "quiet", _flag(quiet=1), 0, 0),
    (4, "quit", _flag(done=True), 0, 0),
    (3, "reboot", misc.reboot, 0, 99),
    (3, "reconfigure", misc.reconfigure, 0, 0),
    (3, "release", verbs.release, 1, 99),
    (3, "requeue", verbs.requeue, 1, 99),
    (8, "requeuehold", verbs.requeuehold, 1, 99),
    (3, "resume", verbs.resume, 1, 99),
    (3, "schedloglevel", misc.setter("schedloglevel"), 1, 1),
    (2, "setdebug", misc.setter("setdebug"), 1, 1),
    (9, "setdebugflags", misc.setter("setdebugflags"), 1, 99),
    (3, "show", show, 1, 99),
    (8, "shutdown", misc.shutdown, 0, 1),
    (2, "suspend", verbs.suspend, 1, 99),
    (8, "takeover", misc.takeover, 0, 1),
    (3, "token", misc.token, 0, 2),
    (3, "top", verbs.top, 1, 99),
    (1, "update", update, 0, 9999),
    (2, "uhold", verbs.hold, 1, 99),
    (4, "verbose", _flag(quiet=-1), 0, 0),
    (4, "version", misc.version, 0, 99),
    (2, "wait_job", verbs.wait_job, 1, 1),
    (5, "write", misc.write, 1, 99),
)


async def run(call: Call, client: Client, api: Api) -> int:
    """One scontrol call; the exit code."""
    session = Session(call, client, api, release(api.config.imitate))
    try:
        parsed = getopt.parse("scontrol", list(call.argv), call.env)
    except getopt.BadOption as error:
        await session.err(error.text)
        return error.code
    options = parsed.options
    for name, value in parsed.pairs:
        if name in ("help", "usage"):
            await session.out(help_text.TEXT)
            return 0
        if name == "version":
            await misc.version(session, name, [])
            return 0
        if name == "uid" and not await _uid(session, str(value)):
            return 0
    if "clusters" in options and options["clusters"] != getattr(api.config, "cluster", ""):
        await misc.unknown_cluster(session, str(options["clusters"]))
        return 1
    session.all, session.detail, session.oneliner = "all" in options, "details" in options, "oneliner" in options
    session.quiet = 1 if "quiet" in options else -1 if options.get("verbose") else 0
    if parsed.rest:
        await _do(session, list(parsed.rest))
    else:
        await _interact(session)
    return session.code


async def _uid(session: Session, text: str) -> bool:
    """-u: somebody else's name is for operators; theirs are the rights that they have anyway."""
    if session.scene().user_id(text) is None:
        await session.err(f'scontrol: error: --uid="{text}" invalid\n')
        return False
    return True


async def _do(session: Session, words: list[str]) -> None:
    """One command: a keyword and its arguments."""
    word, args = words[0], words[1:]
    low = word.lower()
    row = next((row for row in KEYWORDS if len(low) >= row[0] and row[1].startswith(low)), None)
    if row is None:
        await session.fail(f"invalid keyword: {word}", always=True)
        return
    _, _, act, few, many = row
    if len(args) < few:
        await session.fail(f"too few arguments for keyword:{word}")
    elif len(args) > many:
        await session.fail(f"too many arguments for keyword:{word}")
    else:
        await act(session, word, args)


async def _interact(session: Session) -> None:
    """Commands from standard input, echoed behind the prompt where that is no terminal (a terminal has echoed them already)."""
    echo = 0 not in session.call.ttys
    before: list[str] = []
    await session.out("scontrol: ")
    async for raw in session.client.lines():
        line = raw.decode("utf-8", "surrogateescape")
        if echo:
            await session.out(line + "\n")
        await _typed(session, line, before)
        if session.done:
            return
        await session.out("scontrol: ")
    await session.out("\n")


async def _typed(session: Session, line: str, before: list[str]) -> None:
    """One line; `before` keeps the words of the last command."""
    try:
        words = split(line)
    except BadQuotes:
        await session.fail("unbalanced quotes", always=True)
        return
    if words == ["!!"]:
        words = list(before)
    if words:
        before[:] = words
        await _do(session, words)
