"""Which task of a step runs on which node, and the compressed counts that Slurm prints of it ("4(x2),1").

Pure. Runs in the broker and, inside the agent's zipapp, in a head node's supervisor: standard library, Python 3.6.
"""


class LayoutError(ValueError):
    """The tasks do not fit; the text is Slurm's sentence."""


MORE_PROCESSORS = "More processors requested than permitted"


def counts(values):
    """Runs of equal numbers as Slurm writes them: [4, 4, 1] → "4(x2),1"."""
    out, at = [], 0
    while at < len(values):
        end = at
        while end < len(values) and values[end] == values[at]:
            end += 1
        out.append("%d" % values[at] if end - at == 1 else "%d(x%d)" % (values[at], end - at))
        at = end
    return ",".join(out)


def counts_list(text):
    """The inverse of `counts`: "4(x2),1" → [4, 4, 1]. ValueError for what is no such list."""
    out = []
    for item in text.split(","):
        number, sep, times = item.partition("(x")
        if sep and not times.endswith(")"):
            raise ValueError("not a list of counts: %r" % text)
        out.extend([int(number)] * (int(times[:-1]) if sep else 1))
    return out


def ranges(numbers):
    """Ascending numbers as Slurm writes ranks: [0, 1, 2, 5] → "0-2,5"."""
    out: list = []
    for number in sorted(numbers):
        if out and number == out[-1][1] + 1:
            out[-1][1] = number
        else:
            out.append([number, number])
    return ",".join("%d" % low if low == high else "%d-%d" % (low, high) for low, high in out)


def parse_distribution(text):
    """ "block:cyclic,Pack" → {"kind", "plane", "pack"}. kind: block | cyclic | plane | arbitrary | "" (Slurm's choice). ValueError if bad.

    Only the first level, over nodes, changes which task runs where; the others (sockets, cores) are about binding.
    """
    found = {"kind": "", "plane": 0, "pack": False}
    low = text.lower()
    if low.startswith("plane"):
        size = low[5:].lstrip("=")
        if low[5:6] not in ("", "=") or (size and not size.isdigit()):
            raise ValueError(text)
        found["kind"], found["plane"] = "plane", int(size or 0)
        return found
    for item in low.split(","):
        if item in ("pack", "nopack"):
            found["pack"] = item == "pack"
            continue
        levels = item.split(":")
        names = ("block", "cyclic", "arbitrary", "*") if len(levels) == 1 else ("block", "cyclic", "*")
        if len(levels) > 3 or levels[0] not in names or any(level not in ("block", "cyclic", "fcyclic", "*") for level in levels[1:]):
            raise ValueError(text)
        found["kind"] = "" if levels[0] == "*" else levels[0]
    return found


def fill(ntasks, capacity, overcommit=False):
    """How many tasks each node gets under "block": round by round one to each node that has room, what is left over all of them.

    Filling round by round, and numbering only then node by node, is what makes `-N2 --exclusive -n5` give 3 and 2.
    """
    if overcommit or ntasks > sum(capacity):
        start = [0] * len(capacity) if overcommit else list(capacity)
        whole, rest = divmod(ntasks - sum(start), len(capacity))
        return [start[index] + whole + (index < rest) for index in range(len(capacity))]
    got = [0] * len(capacity)
    left = ntasks
    while left:
        open_nodes = [index for index in range(len(capacity)) if got[index] < capacity[index]]
        rounds = min(capacity[index] - got[index] for index in open_nodes)
        rounds = min(rounds, left // len(open_nodes))
        if rounds:  # whole rounds at once: ten thousand tasks cost as many steps as there are distinct node sizes
            for index in open_nodes:
                got[index] += rounds
            left -= rounds * len(open_nodes)
        else:
            for index in open_nodes[:left]:
                got[index] += 1
            left = 0
    return got


def _pack(ntasks, capacity):
    """Tight packing: every node of the step keeps one task, the first ones are filled to the brim."""
    if ntasks > sum(capacity):
        return fill(ntasks, capacity)
    if ntasks < len(capacity):
        return [1 if index < ntasks else 0 for index in range(len(capacity))]
    got, left = [1] * len(capacity), ntasks - len(capacity)
    for index in range(len(capacity)):
        more = min(left, capacity[index] - 1)
        got[index] += more
        left -= more
    return got


def _numbered(got):
    out, rank = [], 0
    for count in got:
        out.append(list(range(rank, rank + count)))
        rank += count
    return out


def _dealt(ntasks, capacity, plane, overcommit):
    """Deal `plane` tasks at a time to each node that has room (cyclic: plane 1)."""
    if not overcommit and ntasks > sum(capacity):
        capacity = fill(ntasks, capacity)
    out: list = [[] for _ in capacity]
    rank = 0
    while rank < ntasks:
        for index in range(len(capacity)):
            many = min(plane, ntasks - rank)
            if not overcommit:
                many = min(many, capacity[index] - len(out[index]))
            elif plane > 1:  # 22.05 leaves one task for each other node: 20 in planes of 2 end on two nodes with 2, 1 and 1
                many = min(many, max(ntasks - rank - len(capacity) + 1, 1))
            out[index].extend(range(rank, rank + many))
            rank += many
    return out


def tasks(ntasks, cpus, cpus_per_task=1, kind="block", plane=1, pack=False, overcommit=False):
    """Ranks of each node (list of lists), for nodes that give `cpus` (list). LayoutError if they do not fit.

    Only the CPUs of all nodes together must be enough: a node may get a task more than its own CPUs would hold, as with Slurm.
    """
    cpus_per_task = max(cpus_per_task or 1, 1)
    if not overcommit and ntasks * cpus_per_task > sum(cpus):
        raise LayoutError(MORE_PROCESSORS)
    capacity = [max(count // cpus_per_task, 1) for count in cpus]
    if kind == "cyclic":
        return _dealt(ntasks, capacity, 1, overcommit)
    if kind == "plane":
        return _dealt(ntasks, capacity, max(plane, 1), overcommit)
    if pack and not overcommit:
        return _numbered(_pack(ntasks, capacity))
    return _numbered(fill(ntasks, capacity, overcommit))


def arbitrary(hosts, nodes):
    """Ranks of each of `nodes` (names) when `hosts` names a node for each rank, in order. LayoutError for a host that is not among them."""
    out: dict = {node: [] for node in nodes}
    for rank, host in enumerate(hosts):
        if host not in out:
            raise LayoutError("Requested node configuration is not available")
        out[host].append(rank)
    return [out[node] for node in nodes]


def layout(info, request, nodes):
    """The layout of a step.

    request: ntasks, and optionally cpus_per_task, distribution (see `parse_distribution`), hosts (arbitrary: a node name for each
    rank), overcommit. nodes: [{"node", "cpus"}, …] chosen for the step, in allocation order. Answer: {"nodes": names,
    "tasks": [[rank, …] of each node]}, nodes without a task left out; or {"error": Slurm's sentence}.
    """
    how = request.get("distribution") or {}
    names = [node["node"] for node in nodes]
    try:
        if request.get("hosts"):
            ranks = arbitrary(request["hosts"][: request["ntasks"]], names)
        else:
            ranks = tasks(
                request["ntasks"],
                [node["cpus"] for node in nodes],
                request.get("cpus_per_task") or 1,
                how.get("kind") or "block",
                how.get("plane") or 1,
                bool(how.get("pack")),
                bool(request.get("overcommit")),
            )
    except LayoutError as error:
        return {"error": str(error)}
    kept = [index for index, mine in enumerate(ranks) if mine]
    return {"nodes": [names[index] for index in kept], "tasks": [ranks[index] for index in kept]}


def node_of(step_layout):
    """{rank: index of its node} of a layout."""
    return {rank: index for index, mine in enumerate(step_layout["tasks"]) for rank in mine}
