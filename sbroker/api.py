"""The seam between the broker and a front end. `sbroker` sees nothing of a front end but `FrontEnd`; a front end sees nothing of
the broker but `Api`, `View` and the values of `sbroker.model`.

One command is one coroutine: ``FrontEnd.run(call, client, api)`` → exit code. `client` acts on the user's side, as the user.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from sbroker.model import Job, JobSpec, Node, Partition, Run, Step


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What the thin client sent, and who it is (SO_PEERCRED, or the owner of the run that the call came from)."""

    id: str  # random, the same when the client asks again after a lost reply
    name: str  # "sbatch"
    argv: tuple[str, ...]  # without argv[0]; bytes that are not UTF-8 as surrogates
    env: dict[str, str]
    cwd: str
    umask: int = 0o022
    limits: dict[str, tuple[int, int]] = {}
    ttys: frozenset[int] = frozenset()  # which of 0, 1, 2 are terminals
    rows: int = 0
    cols: int = 0
    pid: int = 0
    sid: int = 0
    host: str = ""  # where the user's files are
    uid: int = 0
    gid: int = 0
    user: str = ""
    operator: bool = False  # root, or in `operators`
    admin: bool = False  # may use what Slurm keeps for operators: they, and the owner of a personal broker, who submits and holds as a user
    job: int | None = None  # the call came from inside this run …
    run: int | None = None
    node: str = ""  # … on this node
    resume: tuple[int, int] = (0, 0)  # (phase, ops processed in it) when the client asks again
    raw: bytes = b""  # the CALL payload as it came, to hand over to a supervisor


class Client(Protocol):
    """The user's side of a call. Each method raises `ConnectionError` when the user is gone."""

    async def out(self, data: str | bytes, fd: int = 1, *, anew: bool = False) -> None:
        """Write there. To a client that comes back to its session nothing is written, for it has heard all that led there: only what is
        `anew`, because the session is no more."""
        ...

    async def read(self, path: str, limit: int = 64 << 20) -> bytes:
        """The file at `path` (relative to the caller's cwd), read as the user. OSError with errno as the user would get it."""
        ...

    async def write(self, path: str, data: bytes, *, append: bool = False, mode: int = 0o666) -> None: ...
    async def stdin(self) -> bytes:
        """Standard input to its end; of one that has none, the first megabytes."""
        ...

    def lines(self) -> AsyncIterator[bytes]:
        """Standard input line by line as it is typed, without the newlines; for terminals."""
        ...

    async def spawn(self, argv: list[str], env: Mapping[str, str]) -> int:
        """Run a command in the foreground of the user's terminal; its wait status. OSError if it cannot be executed."""
        ...

    async def kill(self, signum: int) -> None:
        """Signal the spawned command."""
        ...

    async def catch(self, signums: Iterable[int]) -> None:
        """From now on these signals are told by `signals()` and do not end the client."""
        ...

    def signals(self) -> AsyncIterator[int]:
        """The signals that were caught, without end: `gone` tells when no more will come."""
        ...

    async def gone(self) -> None:
        """Return when the user is gone."""
        ...


class View(Protocol):
    """The state as it is now, to read only. Synchronous code sees one moment."""

    jobs: Mapping[int, Job]
    runs: Mapping[int, Run]  # job id → its present or last run
    steps: Mapping[int, Mapping[int, Step]]  # job id → step id → step, of the present or last run
    nodes: Mapping[str, Node]
    partitions: Mapping[str, Partition]

    def array(self, array_id: int) -> list[Job]:
        """The records of one array: the rest first, then the tasks that have split off."""
        ...

    def user_jobs(self, uid: int) -> Iterable[Job]: ...
    def node_jobs(self, node: str) -> Iterable[Job]:
        """Jobs that hold resources there, completing ones included."""
        ...

    def node_used(self, node: str) -> tuple[int, int, dict[str, int]]:
        """CPUs, MiB and gres in use there."""
        ...

    def estimate(self, job: int) -> float | None:
        """When the last pass thought that the job will start."""
        ...

    def planned(self, job: int | None = None) -> frozenset[str]:
        """Nodes on which the last pass means to start that job later; without one, those of all jobs that it plans for."""
        ...


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A job, an array task, or a step that a command names. `tasks` selects within an array."""

    job: int
    tasks: tuple[int, ...] | None = None
    step: int | None = None


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of --test-only."""

    start: float
    cpus: int
    nodes: tuple[str, ...]
    partition: str
    job: int  # the id it would have had
    said: tuple[str, ...] = ()  # where machines would be bought for it: which, what comes next, and why not others


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What sacct asks of the accounting records: every run of every job ever recorded."""

    jobs: tuple[int, ...] = ()
    uids: tuple[int, ...] = ()
    accounts: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    start: float | None = None  # jobs in any state between start and end
    end: float | None = None
    steps: bool = True


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one job as accounted, with its steps."""

    job: Job
    run: Run | None
    steps: tuple[Step, ...] = ()

    def held(self, now: float) -> tuple[float, float] | None:
        """From when to when (or to now) the run had its nodes, its files on their way back included; None if it never had any."""
        if self.run is None:
            return None
        job, end = self.job, self.run.released
        if end is None:
            over = job.state.ended and not job.completing
            end = job.end_time if over and job.end_time is not None else now
        return self.run.created, max(end, self.run.created)

    def cost(self, now: float, since: float | None = None, until: float | None = None) -> float:
        """USD that the run has cost so far, or within a period: its share of its machines, and the estimated egress, which counts at its start."""
        held = self.held(now)
        if held is None or not (self.job.rate or self.job.egress):
            return 0.0
        begin, end = held
        first, last = max(begin, since or 0.0), end if until is None else min(end, until)
        moved = self.job.egress if (since or 0.0) <= begin and (until is None or begin < until) else 0.0
        return max(0.0, last - first) * self.job.rate / 3600 + moved


class Api(Protocol):
    """What a front end may ask of the broker. Every refusal is `errors.Refused` and changed nothing.

    A method that changes something returns only when the change is durable.
    """

    view: View
    config: Any  # sbroker.config.Config
    caller: Call

    def now(self) -> float: ...
    async def submit(self, spec: JobSpec, script: bytes | None, environ: bytes) -> Job:
        """Admit a job; the same call id gives the same job again. `environ`: KEY=value, each ended by NUL."""
        ...

    async def test(self, spec: JobSpec) -> Placement: ...
    async def describe(self, job: int) -> dict[str, Any]:
        """The run's description (ARCHITECTURE.md) of a job that has an allocation: what NodeFront functions take as `info`."""
        ...

    async def finish(self, job: int, code: int, signal: int = 0) -> None:
        """The owner of an allocation (salloc, srun) is done with it: end the run; the job ends with this exit code, not as cancelled.
        A pending one is withdrawn as Slurm does when srun or salloc is interrupted while it waits."""
        ...

    async def cancel(self, target: Target, *, signal: int | None = None, batch: bool = False, full: bool = False) -> None:
        """Without `signal`: end it (pending ones at once). With it: signal the steps (and/or the batch shell)."""
        ...

    async def cancel_many(self, jobs: list[int], *, signal: int | None = None, batch: bool = False, full: bool = False) -> None:
        """The same for many whole jobs in one change."""
        ...

    async def hold(self, target: Target, held: str) -> None:
        """held: "user", "admin", or "" to release."""
        ...

    async def requeue(self, target: Target, *, hold: bool = False) -> None: ...
    async def suspend(self, target: Target, suspend: bool) -> None: ...
    async def update_job(self, target: Target, changes: dict[str, Any]) -> None:
        """`changes`: field of JobSpec → new value, checked as a submission is."""
        ...

    async def update_node(self, node: str, *, state: str | None = None, reason: str | None = None, **fields: Any) -> None:
        """state: drain, resume, down, idle, fail, undrain (Slurm's words in lower case)."""
        ...

    async def update_partition(self, name: str, **fields: Any) -> None: ...
    async def create_partition(self, name: str, **fields: Any) -> None:
        """One that lasts until the configuration is read again."""
        ...

    async def delete_partition(self, name: str) -> None: ...
    async def reconfigure(self) -> None:
        """Read the configuration again; operators only. ConfigError says what is wrong with it; everything is as it was then."""
        ...

    async def script(self, job: int, past: Job | None = None) -> bytes:
        """The batch script; its owner's and operators' only. `past`: the job as `history` has it, for one that has left the view;
        SCRIPT_MISSING when its script is no longer kept."""
        ...

    async def environ(self, job: int, past: Job | None = None) -> bytes:
        """The environment that the user exported to a batch job, KEY=value each ended by NUL; who may and `past` as with `script`."""
        ...

    async def changed(self, job: int, timeout: float | None = None) -> Job | None:
        """Wait until the job's record changes once more (or is purged: None)."""
        ...

    async def history(self, query: HistoryQuery) -> list[Record]: ...
    async def refresh_catalog(self, sites: list[str]) -> list[str]:
        """Ask these sites (all, if none is named) now what they sell; a sentence each. Operators, and the owner of a personal broker."""
        ...

    def machine_costs(self, since: float, until: float) -> dict[str, float]:
        """Site → USD that its machines have cost in these days (UTC), whoever used them; operators only, others are told nothing ({})."""
        ...

    async def session(self, call: Call, client: Client, job: int, options: dict[str, Any]) -> int:
        """Hand the call over to the head supervisor of a running job (srun, sattach, sbcast); the exit code."""
        ...

    def staged(self, job: int) -> list[str]:
        """The nodes of its present or last run to which the job's files were brought."""
        ...

    async def sync(self, job: int, node: str, do: str) -> dict[str, Any]:
        """Bring changes of the job's files from this node ("out") or to it ("in") now; the outcome (sbroker/agent/files)."""
        ...

    def findings(self, outcome: dict[str, Any]) -> list[str]:
        """Conflicts of an exchange, and what it left out: a sentence each."""
        ...

    async def login(self, client: Any, node: str, job: int | None, authorized: str, host_key: str) -> None:
        """Join the caller's standard input and output with an sshd inside its running job on `node` (its newest there without `job`), which
        lets in who has the key `authorized` (a public key's line) and shows `host_key` (a private key, OpenSSH's form). Returns when one
        side ends; errors.LoginRefused says why there is none."""
        ...

    async def progress(self, job: int, known: str = "") -> str:
        """Where a job that has nodes stands on its way to its first process, as a short sentence ("" for nothing to tell), as soon as it
        is another one than `known`: "2 of 3 nodes ready, node gpu07: connecting"."""
        ...

    def login_as(self, node: str, job: int | None) -> tuple[int, str]:
        """(job, name of its user on that node) for such a login. LoginRefused if there is no such job."""
        ...

    def login_users(self) -> dict[str, str]:
        """Every node → the name under which the caller's jobs run there."""
        ...

    def status(self) -> dict[str, Any]:
        """For `sbroker status`: plain JSON values."""
        ...

    async def power_down(self, nodes: list[str]) -> None:
        """Terminate the machines of these nodes, of all cloud nodes where the list is empty; refused while jobs hold them. Operators only."""
        ...

    async def machines(self) -> dict[str, Any]:
        """What each site that makes machines has, asked just now: {site: {"machines": [{id, token, index, node, state, price, created,
        owner ("us", "stray", "foreign")}], "error"}}."""
        ...

    async def reap(self) -> int:
        """Terminate all machines that bear this broker's mark and belong to no group on record. How many were found. Operators only."""
        ...

    async def explain(self, job: int) -> list[str]:
        """Sentences: where it could run, and why not elsewhere or not yet."""
        ...

    def stuck(self, job: int) -> str:
        """Why a job that was ended is not over and will not be before somebody does something: a sentence that says what; "" if it only takes its time."""
        ...


class FrontEnd(Protocol):
    """All that the broker sees of a front end. `bin/` hands one to the daemon."""

    async def run(self, call: Call, client: Client, api: Api) -> int: ...
    def node_files(self) -> dict[str, bytes]:
        """Path inside the agent's zipapp → content; among them the module `node_module()` names, which offers `NodeFront`."""
        ...

    def node_module(self) -> str: ...
    def option_rows(self) -> list[dict[str, str]]:
        """For `sbroker options`: command, option, class (honoured, harmless, refused), note."""
        ...

    def version(self, imitate: str) -> str: ...


class NodeFront(Protocol):
    """What the agent sees of a front end: module-level functions of the `node_module`, Python 3.6, standard library.

    `info` is the run's description, a JSON object (ARCHITECTURE.md, "The run's description").
    """

    def submitted_environ(self, info: dict, node: str, env: dict) -> dict:
        """What of the environment that a batch job was submitted with goes to `node`."""
        ...

    def exported_names(self, info: dict) -> set | None:
        """The variables that the batch job's user named, None for all: what a site sets does not go before them."""
        ...

    def batch_environ(self, info: dict, node: str, user_env: dict) -> dict: ...
    def alloc_environ(self, info: dict) -> dict:
        """What salloc adds to its command's environment."""
        ...

    def login_environ(self, info: dict, node: str) -> dict:
        """What a login into the job has on `node` beyond a plain one."""
        ...

    def step_environ(self, info: dict, step: dict, node: str, base: dict) -> dict: ...
    def task_environ(self, info: dict, step: dict, node: str, rank: int, base: dict) -> dict: ...
    def filename(self, pattern: str, fields: dict) -> str: ...
    def filename_items(self, pattern: str) -> set:
        """The letters that `pattern` replaces."""
        ...

    def preload(self) -> None:
        """Import what most runs do not need: the agent calls it once it has nothing else to do."""
        ...

    def parse_step(self, info: dict, call: dict) -> dict:
        """srun's argv and environment inside an allocation → step request, or {"refuse": {"out", "err", "code"}}, or {"read": [path]}: call
        again with call["files"] = {path: (errno, bytes)}."""
        ...

    def parse_sattach(self, call: dict, imitate: str) -> dict: ...
    def parse_sbcast(self, call: dict, imitate: str) -> dict: ...
    def layout_text(self, layout: dict) -> str:
        """sattach --layout."""
        ...

    def tasks_text(self, ranks: list) -> str:
        """As in: task 0, or tasks 0-1,3."""
        ...

    CAUGHT: tuple  # signals that srun handles itself

    def talk(self, request: dict, fields: dict) -> Any:
        """What srun says while its step runs, and what it returns (slurm_compat.talk.Talk)."""
        ...

    def layout(self, info: dict, request: dict, nodes: list) -> dict: ...
    def notice(self, kind: str, fields: dict) -> bytes:
        """The text of something that Slurm would say in a job's output or on srun's stderr."""
        ...
