"""Checks across options that Slurm's commands make themselves, with their words. `asked` is a `request.Asked`."""

from __future__ import annotations

from slurm_compat.grammar import Invalid
from slurm_compat.grammar.gres import bad_gres, total

_MEMORY = {"mem": "mem_per_node", "mem-per-cpu": "mem_per_cpu", "mem-per-gpu": "mem_per_gpu"}


def check_memory(asked) -> None:
    """At most one of the three memories. One that was typed puts aside those of variables."""
    typed = [name for name in _MEMORY if asked.source.get(name) in ("cli", "script")]
    variables = [name for name in _MEMORY if asked.source.get(name) == "env"]
    if len(typed) > 1:
        raise Invalid("--mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.", 1, "fatal")
    if not typed and len(variables) > 1:
        raise Invalid("SLURM_MEM_PER_CPU, SLURM_MEM_PER_GPU, and SLURM_MEM_PER_NODE are mutually exclusive.", 1, "fatal")
    for name in variables if typed else ():
        del asked.fields[_MEMORY[name]], asked.shown[name]


def check_tasks(asked) -> None:
    """Nodes against tasks and node list; hints; tasks that -B implies."""
    fields = asked.fields
    if "hint" in fields and {"ntasks-per-core", "threads-per-core", "extra-node-info"} & set(asked.shown):
        if asked.verbose:
            asked.say("info", "Following options are mutually exclusive with --hint: --ntasks-per-core, --threads-per-core, -B and "
                              "--cpu-bind (other then --cpu-bind=verbose). Ignoring --hint.")
        del fields["hint"], asked.shown["hint"]
    if fields.get("ntasks_per_gpu") is not None:
        for name in ("gpus-per-task", "ntasks-per-node"):
            if name in asked.shown:
                raise Invalid("--%s is mutually exclusive with --ntasks-per-gpu and SLURM_NTASKS_PER_GPU" % name, 1, "fatal")
    _implied_tasks(asked)
    hosts = len(set(fields.get("nodelist") or ()))
    low, high = fields.get("nodes_min"), fields.get("nodes_max")
    if hosts and high and high < hosts and low is not None:
        raise Invalid("invalid number of nodes (-N %d-%d)" % (hosts, high), 1)
    nodes, tasks = max(low or 0, hosts if low is None else low), fields.get("ntasks")
    if asked.command == "srun" and tasks is not None and nodes:
        _tasks_per_node(asked, tasks, nodes)
    if tasks is not None and nodes > tasks:
        asked.say("info", "Warning: can't run %d processes on %d nodes, setting nnodes to %d" % (tasks, nodes, tasks))
        if low is not None:
            fields["nodes_min"] = tasks
            fields["nodes_max"] = min(high, tasks) if high else tasks
    elif tasks is not None and high and high > tasks:
        fields["nodes_max"] = tasks
    if fields.get("distribution", "").startswith("arbitrary") and not hosts:
        raise Invalid("With Arbitrary distribution you need to specify a nodelist or hostfile with the -w option", 1)


def _tasks_per_node(asked, tasks: int, nodes: int) -> None:
    """srun takes no --ntasks-per-node that does not multiply to the tasks; sbatch and salloc leave that to the controller."""
    each = asked.fields.get("ntasks_per_node")
    if each and nodes * each != tasks:
        asked.fields["ntasks_per_node"] = None
        if nodes <= tasks:
            asked.say("info", "Warning: can't honor --ntasks-per-node set to %d which doesn't match the requested tasks %d with the "
                              "number of requested nodes %d. Ignoring --ntasks-per-node." % (each, tasks, nodes))


def _implied_tasks(asked) -> None:
    counts = asked.other.get("extra-node-info")
    if not counts or asked.fields.get("ntasks") is not None:
        return
    given = [count for count in counts if count is not None]
    tasks = 1
    for count in given:
        tasks *= count
    if given and tasks:
        asked.fields["ntasks"] = tasks
        if asked.verbose:
            asked.say("info", "Number of tasks implicitly set to %d." % tasks)


def check_gpus(asked, found) -> None:
    """GPU counts against each other and against tasks and nodes; fills in the tasks or nodes that they imply.

    `found`: field → list of (name, type, count), as parsed.
    """
    fields = asked.fields
    on_node = found.get("gpus_per_node") or [item for item in found.get("gres", ()) if item[0] == "gpu"]
    job, task, socket = (total(found.get(key) or ()) for key in ("gpus", "gpus_per_task", "gpus_per_socket"))
    node = total(on_node)
    kinds = {kind is None for key in ("gpus", "gpus_per_node", "gpus_per_task", "gpus_per_socket") for _n, kind, _c in found.get(key) or ()}
    if len(kinds) > 1:
        raise Invalid("Invalid GRES specification (with and without type identification)", 1)
    if fields.get("mem_per_gpu") and not (job or task or socket or node):
        raise bad_gres(["Requested mem_per_tres=gres:gpu:%d but did not request any GPU." % fields["mem_per_gpu"]])
    if fields.get("cpus_per_gpu") and fields.get("cpus_per_task") and (job or task or socket or node):
        raise bad_gres(["--cpus-per-gpu is mutually exclusive with --cpus-per-task"])
    _per_socket(fields, socket, node)
    _per_node(fields, job, node)
    if job and fields.get("nodes_min") and job < fields["nodes_min"]:
        raise bad_gres(["Failed to validate job spec, --gpus < -N"])
    if task:
        _per_task(fields, job, task, node)
    if fields.get("ntasks_per_gpu"):
        _tasks_per_gpu(fields, job, node)


def _per_socket(fields, socket: int, node: int) -> None:
    if not socket:
        return
    sockets = fields.get("sockets_per_node")
    if not sockets:
        raise bad_gres(["--gpus-per-socket option requires --sockets-per-node specification"])
    if node and node != socket * sockets:
        raise bad_gres(["Failed to validate job spec. Based on --gres=gpu/--gpus-per-node and --gpus-per-socket required number of sockets "
                        "differ from --sockets-per-node."])


def _per_node(fields, job: int, node: int) -> None:
    if not job or not node:
        return
    if job % node:
        raise bad_gres(["Failed to validate job spec, --gpus is not multiple of --gres=gpu/--gpus-per-node"])
    fields["nodes_min"] = fields["nodes_max"] = job // node


def _per_task(fields, job: int, task: int, node: int) -> None:
    tasks = fields.get("ntasks")
    if node and node % task:
        raise bad_gres(["Failed to validate job spec, --gres=gpu/--gpus-per-node not multiple of --gpus-per-task."])
    if job:
        if job % task:
            raise bad_gres(["Failed to validate job spec, --gpus not multiple of --gpus-per-task"])
        if tasks is not None and tasks != job // task:
            raise bad_gres(["Failed to validate job spec. Based on --gpus and --gpus-per-task number of requested tasks differ from "
                            "-n/--ntasks."])
        fields["ntasks"] = job // task
    elif tasks is None:
        nodes = fields.get("nodes_min")
        if fields.get("ntasks_per_node"):
            fields["ntasks"] = fields["ntasks_per_node"] * (nodes or 1)
        elif node and nodes:
            fields["ntasks"] = nodes * (node // task)
        else:
            raise bad_gres(["Failed to validate job spec. --gpus-per-task used without either --gpus or -n/--ntasks is not allowed."])
    if node and not fields.get("ntasks_per_node"):
        fields["ntasks_per_node"] = node // task


def _tasks_per_gpu(fields, job: int, node: int) -> None:
    each, tasks, nodes = fields["ntasks_per_gpu"], fields.get("ntasks"), fields.get("nodes_min")
    if job:
        fields["ntasks"] = job * each
    elif node:
        fields["ntasks"] = node * each * (nodes or 1)
    elif tasks is not None:
        if tasks % each:
            raise bad_gres(["Failed to validate job spec, -n/--ntasks has to be a multiple of --ntasks-per-gpu."])
    elif nodes:
        fields["ntasks"] = nodes * each
    else:
        raise bad_gres(["gres_job_state_validate: --ntasks-per-tres needs either a GRES GPU specification or a node/ntask specification"])
