"""The values that move through the broker: one frozen value per stage.

`JobSpec` (what was asked) → `Job` (the record) → `Run` and `Part` (one attempt, and its share on one node) → `Step`.
Nothing edits what it was given: `msgspec.structs.replace` makes the next value. Times are seconds since the epoch (float),
durations seconds (int), memory MiB (int), unless a comment says otherwise. `None` means "not asked for".
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from sbroker.states import GroupState, JobState, NodeState, PartState, Reason, RunState

INFINITE = -1  # a time limit of "unlimited"


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all values: frozen, keyword-only, JSON by msgspec; unknown keys of a newer release are dropped on read."""


class Gres(Value, kw_only=True):
    """So many of one generic resource, e.g. gpu:a100:4. `type` None means any type."""

    name: str
    type: str | None = None
    count: int = 1


class DepItem(Value, kw_only=True):
    """One condition of --dependency. `task` is set for JOB_TASK. singleton has no job."""

    kind: Literal["after", "afterany", "afterok", "afternotok", "aftercorr", "afterburstbuffer", "singleton", "expand"]
    job: int = 0
    task: int | None = None
    delay: int = 0  # seconds, after:JOB+minutes


class Dependency(Value, kw_only=True):
    """`any` False: all items must hold (","); True: one is enough ("?")."""

    items: tuple[DepItem, ...]
    any: bool = False


class SignalSpec(Value, kw_only=True):
    """--signal=[B:][R:]signum@before. Scope "steps" reaches the steps only, "batch" the batch shell only."""

    signum: int
    before: int = 60  # seconds before the time limit
    batch: bool = False
    reservation: bool = False


class Within(Value, frozen=True, kw_only=True):
    """Where a rule leaves a job to run: on these sites, and on nodes with a feature (region, country, group of countries) of each of `places`
    that matches one of its patterns. `why` is the end of a sentence about a node elsewhere."""

    partitions: tuple[str, ...] = ()  # that it is about; () all
    sites: tuple[str, ...] = ()
    places: tuple[tuple[str, ...], ...] = ()
    why: str = ""


class JobSpec(Value, kw_only=True):
    """What the user asked for, after directives, variables and options were merged. Never changed; `scontrol update` makes a new one."""

    name: str
    kind: Literal["batch", "alloc"] = "batch"  # alloc: srun or salloc, no script
    command: str = ""  # path of the script, or ""; scontrol's Command= has script_args after it
    script_args: tuple[str, ...] = ()
    script_hash: str = ""  # in the store's blob table
    environ_hash: str = ""  # NUL-separated, as the user exported it
    work_dir: str = "/"
    submit_dir: str = ""  # where the user was, if that was not work_dir
    umask: int = 0o022
    limits: dict[str, tuple[int, int]] = {}  # "NOFILE": (soft, hard), what --propagate sends
    submit_host: str = ""
    origin: str = ""  # the site, if it is no twin, of the node that it was submitted from inside a job; "": the submit host's environment
    submit_line: str = ""
    sid: int = 0  # session id of the submitting process
    # who
    account: str | None = None
    qos: str | None = None
    wckey: str | None = None
    partitions: tuple[str, ...] = ()  # () = the default one
    reservation: str | None = None
    # how many
    ntasks: int | None = None
    nodes_min: int | None = None
    nodes_max: int | None = None
    use_min_nodes: bool = False
    spread: bool = False
    cpus_per_task: int | None = None
    ntasks_per_node: int | None = None
    ntasks_per_socket: int | None = None
    ntasks_per_core: int | None = None
    ntasks_per_gpu: int | None = None
    mincpus: int | None = None
    sockets_per_node: int | None = None
    cores_per_socket: int | None = None
    threads_per_core: int | None = None
    core_spec: int | None = None
    overcommit: bool = False
    # memory and disk (MiB); at most one of the three memories; 0 = all of the node's
    mem_per_node: int | None = None
    mem_per_cpu: int | None = None
    mem_per_gpu: int | None = None
    tmp: int | None = None
    # generic resources
    gres: tuple[Gres, ...] = ()  # per node, --gres
    gpus: tuple[Gres, ...] = ()  # per job
    gpus_per_node: tuple[Gres, ...] = ()
    gpus_per_socket: tuple[Gres, ...] = ()
    gpus_per_task: tuple[Gres, ...] = ()
    cpus_per_gpu: int | None = None
    gres_flags: str | None = None
    gpu_bind: str | None = None
    licenses: str | None = None
    # where
    constraint: str | None = None  # as typed; grammar in sbroker.features
    nodelist: tuple[str, ...] = ()  # expanded host names
    exclude: tuple[str, ...] = ()
    barred: tuple[str, ...] = ()  # nodes to which the job's files may not be brought, set when it is admitted
    bound: tuple[str, ...] = ()  # what rules of the site are about that it reads or lies in, as these name it; set when it is admitted
    within: tuple[Within, ...] = ()  # what those rules leave; set when it is admitted
    contiguous: bool = False
    exclusive: Literal["", "node", "user", "mcs"] = ""
    oversubscribe: bool = False
    distribution: str | None = None  # as typed
    hint: str | None = None
    switches: str | None = None
    # when
    time_limit: int | None = None  # seconds; INFINITE
    time_min: int | None = None
    begin: float | None = None
    deadline: float | None = None
    dependency: Dependency | None = None
    kill_on_invalid_dep: bool | None = None
    hold: bool = False
    immediate: int | None = None  # seconds to wait for an allocation, -I
    nice: int = 0
    priority: int | None = None
    delay_boot: int | None = None
    # arrays: indices in order given; limit = %N
    array: str | None = None  # as typed, without %limit
    array_tasks: tuple[int, ...] = ()
    array_limit: int | None = None
    # while it runs
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    open_mode: Literal["append", "truncate"] | None = None
    signal: SignalSpec | None = None
    requeue: bool | None = None  # None: the cluster's default (yes)
    no_kill: bool = False
    wait_all_nodes: int | None = None
    get_user_env: bool = False
    export: str | None = None  # as typed, for SLURM_EXPORT_ENV
    software: tuple[str, str] | None = None  # the environment that was active at the submission: "VIRTUAL_ENV" or "CONDA_PREFIX", and its folder
    # told, not acted on here
    comment: str | None = None
    admin_comment: str | None = None
    mail_type: tuple[str, ...] = ()
    mail_user: str | None = None
    cpu_freq: str | None = None
    profile: str | None = None
    network: str | None = None
    extra: dict[str, str] = {}  # other options kept as typed, by long name: shown or exported, no effect on placement
    sbroker: dict[str, str] = {}  # "#SBROKER key=value"


class NodeShare(Value, kw_only=True):
    """What one node gives to an allocation. gres maps "gpu:a100" (or "gpu") to device indices."""

    node: str
    cpus: int
    cpu_ids: str = ""  # "0-3,8": abstract CPU numbers on that node
    mem: int = 0
    gres: dict[str, tuple[int, ...]] = {}


class Exit(Value, kw_only=True):
    """How a process or job ended: wait status split in two."""

    code: int = 0
    signal: int = 0


class Job(Value, kw_only=True):
    """One job, one array task that has split off, or an array's unstarted rest (array_pending non-empty)."""

    id: int
    array_id: int = 0  # 0: not an array
    array_task: int | None = None
    array_pending: tuple[int, ...] = ()  # task ids still inside this record, ascending
    array_size: int = 0  # tasks submitted in all
    array_range: tuple[int, int, int] = (0, 0, 1)  # least and greatest task id, and the step that --array names first, or 1
    user: str
    uid: int
    gid: int
    group: str = ""
    spec: JobSpec
    account: str | None = None  # after defaults
    qos: str | None = None
    partition: str = ""  # chosen when it starts; before, the first asked
    state: JobState = JobState.PENDING
    completing: bool = False
    configuring: bool = False
    reason: Reason = Reason.NONE
    reason_text: str = ""  # our own sentence where Slurm's word is not enough
    held: Literal["", "user", "admin"] = ""
    priority: int = 0
    time_limit: int = INFINITE  # after defaults
    submit_time: float = 0
    eligible_time: float | None = None
    begin: float | None = None  # spec's, or put off by a requeue
    start_time: float | None = None
    end_time: float | None = None  # when ended
    suspend_time: float | None = None  # when the present suspension began
    suspended_secs: int = 0  # in all, before that
    look: float | None = None  # when to look whether its run has kept the time limit, if not as soon as it could be told
    last_eval: float | None = None
    deps_left: Dependency | None = None  # what of spec.dependency is not yet fulfilled
    dep_failed: bool = False
    run: int = -1  # number of the present or last run; -1: none yet
    restarts: int = 0
    requeues: int = 0  # by the broker itself, since its owner or an operator last sent it to the queue
    nodes: tuple[NodeShare, ...] = ()  # allocation of the present or last run
    exit: Exit = Exit()
    derived_exit: Exit = Exit()  # the worst of its steps
    killed_by: int | None = None  # uid that cancelled it
    stage_until: float | None = None  # when its files must be back at the latest: set when that failed for the first time
    requeue_as: Literal["", "pending", "held"] = ""  # ordered while it still ends
    rate: float = 0.0  # USD an hour of what its present or last run holds
    sites: dict[str, float] = {}  # the same by site, those that cost nothing included, in the order of its nodes
    egress: float = 0.0  # USD that moving its files is estimated to cost, of the present or last run
    request_id: str = ""


class Run(Value, kw_only=True):
    """One attempt at a job. Exists only when all parts of the run before are EMPTY or FENCED."""

    job: int
    run: int
    state: RunState = RunState.PREPARING
    head: str  # node name
    key: str = ""  # per-run secret of its supervisors
    created: float = 0
    started: float | None = None
    ended: float | None = None
    released: float | None = None  # when nothing of it was left on any node, and it was charged; of one that costs something
    exit: Exit = Exit()
    why: str = ""  # end ordered because: cancel | time_limit | requeue | node_fail | deadline | preempt | launch | signal
    lease: int | None = None  # seconds; a run that ends itself when unattended


class Part(Value, kw_only=True):
    job: int
    run: int
    node: str
    state: PartState = PartState.ASKED
    incarnation: str = ""  # of the agent that holds it
    stage: Literal["", "in", "ready", "lost"] = ""  # "": no staging; "in": to be staged in; "ready": is; "lost": did not come back
    at: dict[str, Any] = {}  # where the files are on the node: "roots" [[path here, path there], …], "env" as the files worker says


class Step(Value, kw_only=True):
    """A step as its head supervisor reported it. step: -5 batch, -4 extern/interactive, else 0, 1, …"""

    job: int
    run: int
    step: int
    name: str = ""
    state: JobState = JobState.RUNNING
    nodes: tuple[str, ...] = ()
    ntasks: int = 1
    cpus: int = 1
    mem: int = 0
    gres: dict[str, int] = {}
    start_time: float = 0
    end_time: float | None = None
    exit: Exit = Exit()
    submit_line: str = ""
    srun_host: str = ""
    srun_pid: int = 0
    usage: dict[str, int] = {}  # user_usec, system_usec, max_rss_kib, read_bytes, write_bytes


class Node(Value, kw_only=True):
    """A machine, or one that an elastic site may make. `incarnation` = agent directory + boot id, "" before the first hello."""

    name: str
    site: str
    state: NodeState = NodeState.UNKNOWN
    drain: bool = False
    cloud: bool = False  # made on demand: shown as idle~ when there is no machine
    reason: str = ""
    reason_uid: int = 0
    reason_time: float | None = None
    address: str = ""
    hostname: str = ""
    measured: bool = False  # how big it is, its agent says
    cpus: int = 1
    boards: int = 1
    sockets: int = 1
    cores_per_socket: int = 1
    threads_per_core: int = 1
    memory: int = 1
    tmp: int = 0
    gres: tuple[Gres, ...] = ()
    features: tuple[str, ...] = ()
    weight: int = 1
    shared_fs: bool | tuple[str, ...] = True  # whether all, or what lies below these prefixes, is the same file there as on the submit host
    stage: bool = True  # whether files may be staged there
    stage_out_grace: int | None = None  # seconds that it is kept when files do not come back; None: the cluster's
    lease: int = 0  # seconds after which a run that may be run again ends itself there when the broker is not heard; 0: it goes on
    token: str = ""  # of the group whose machine it is; "": a cloud node without a machine, or no cloud node
    index: int = 0  # of that machine in its group
    price: float = 0.0  # USD an hour while the machine is there
    listed: bool = True  # in the configuration; a cloud node that is not goes with its machine
    releasing: bool = False  # its machine is being terminated: nothing may start there
    idle_since: float | None = None  # of a cloud node with a machine that nobody uses
    one_user: bool = False  # its agent is no root: all jobs run as one user there, so those of one submitter at a time
    arch: str = ""
    os: str = ""
    version: str = ""
    incarnation: str = ""
    boot_time: float | None = None
    agent_time: float | None = None  # when its agent started
    last_heard: float | None = None
    silent: float | None = None  # since when it does not answer; None: it does, or has not done so for moments only
    failed_launches: int = 0  # one after the other, by the node's own fault
    fault: bool = False  # DOWN because it cannot be reached before somebody mends what `reason` says
    load: float | None = None  # one-minute load average
    free_mem: int | None = None

    @property
    def sized(self) -> bool:
        """Whether it is known how big the node is."""
        return not self.measured or self.memory > 1


class Partition(Value, kw_only=True):
    """After defaults; nodes are names in configured order."""

    name: str
    default: bool = False
    state: Literal["UP", "DOWN", "DRAIN", "INACTIVE"] = "UP"
    sites: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    max_time: int = INFINITE
    default_time: int | None = None
    max_nodes: int | None = None
    min_nodes: int = 0
    def_mem_per_cpu: int | None = None
    def_mem_per_node: int | None = None
    def_mem_per_gpu: int | None = None
    def_cpus_per_gpu: int | None = None
    max_mem_per_cpu: int | None = None
    gpu_types: tuple[str, ...] = ()
    oversubscribe: str = "no"  # no | exclusive | yes[:n] | force[:n]
    allow_accounts: tuple[str, ...] = ()
    allow_groups: tuple[str, ...] = ()
    allow_qos: tuple[str, ...] = ()
    priority_tier: int = 1
    policy: str = ""
    burst_after: int = 0  # seconds of estimated waiting for nodes that are there before machines are bought
    hour_worth: float = 0.0  # USD that an hour of waiting is worth; policy "weights"
    spot: Literal["allow", "only", "never"] = "allow"
    max_price: float | None = None  # USD an hour, of the machines of a job
    suspend_time: int | None = None
    idle_timeout: int | None = None  # seconds after which an interactive job on nodes that cost money ends when nobody uses it
    hidden: bool = False


class Group(Value, kw_only=True):
    """One intent to create `count` machines of one offer; the token is what makes `create` repeatable. `nodes[i]` is the name of machine
    i's node. A refused group stays for as long as its place is avoided."""

    token: str
    site: str
    offer: dict[str, Any] = {}  # an `Offer` of sbroker.providers.base
    count: int = 1
    min: int = 1
    nodes: tuple[str, ...] = ()
    state: GroupState = GroupState.WANTED
    created: float = 0
    asked: float = 0  # when the provider answered last, or gave no answer
    answered: bool = False  # it said that the group is made, or being made
    ended: float | None = None  # since when it is REFUSED or GONE
    avoid: float | None = None  # until when its place is not tried again
    error: str = ""  # sentence: why it was refused, or what is not known
    kind: Literal["", "no_capacity", "quota", "auth", "unsatisfiable", "boot", "preempted", "unknown"] = ""  # of `error`


class Machine(Value, kw_only=True):
    token: str
    index: int
    site: str
    id: str = ""  # the provider's
    state: Literal["", "queued", "starting", "running", "stopping", "gone"] = ""  # as its provider listed it last; "": not yet
    reason: str = ""
    node: str = ""
    address: str = ""
    price: float = 0.0  # USD an hour
    created: float = 0
    gone: float | None = None


class Report(Value, kw_only=True):
    """What an agent tells. Each takes effect once, in the order of `seq` within an incarnation."""

    node: str
    incarnation: str
    seq: int
    kind: Literal["held", "refused", "started", "step_start", "step_end", "ending", "ended", "empty", "lost", "suspended", "resumed", "notice"]
    job: int
    run: int
    time: float
    data: dict[str, Any] = {}  # by kind; see ARCHITECTURE.md, "Reports"
