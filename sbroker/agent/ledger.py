"""Who has which part of the allocation: the step ledger of a run's head.

Pure bookkeeping over the run's nodes. A step takes, on each node it runs on, either all that the job has there (as Slurm does unless
told otherwise) or exactly what it asked for, or nothing at all (overlap).
"""

BUSY = "Requested nodes are busy"
NO_CONFIG = "Requested node configuration is not available"
TOO_MANY = "More processors requested than permitted"
NO_MEMORY = "Memory required by task is not available"
BAD_GRES = "Invalid generic resource (gres) specification"


class Busy(Exception):
    """It will fit when something else has ended."""


class Never(Exception):
    """It cannot fit this allocation; the text is the reason."""


class _Node:
    """What the job has on one node, and what its steps hold of it."""

    def __init__(self, index, share):
        self.index, self.name = index, share["node"]
        self.cpus, self.mem = share["cpus"], share.get("mem") or 0
        self.gres = {name: list(ids) for name, ids in (share.get("gres") or {}).items()}
        self.cpus_used = self.mem_used = 0
        self.gres_used: dict = {name: set() for name in self.gres}

    def free_gres(self, name, kind):
        """[(full name, index)] free of gres `name`, of any type if `kind` is None."""
        out: list = []
        for full in self.gres:
            base, _, typ = full.partition(":")
            if base == name and kind in (None, "", typ):
                out.extend((full, index) for index in self.gres[full] if index not in self.gres_used[full])
        return out

    def count_gres(self, name, kind):
        return sum(len(ids) for full, ids in self.gres.items() if full.split(":")[0] == name and kind in (None, "", full.partition(":")[2]))


class Ledger:
    """`nodes`: info["nodes"] of the run's description."""

    def __init__(self, nodes):
        self._nodes = [_Node(index, share) for index, share in enumerate(nodes)]
        self._held = {}  # step → [(node, cpus, mem, {gres name: set of indices})]

    def names(self):
        return [node.name for node in self._nodes]

    def place(self, step, request):
        """Reserve for `step` and return [{"node", "cpus", "mem", "gres"}, …] in allocation order. Raises Busy or Never, changing nothing.

        request (all optional but ntasks): ntasks, cpus_per_task, nodes_min, nodes_max, nodelist, exclude, relative, exact, overlap,
        overcommit, hosts (arbitrary layout), mem_per_node, mem_per_cpu, gres ([{name, type, count}] per node; None: all that the job has;
        []: none),
        gpus_total (int), gpus_per_task.
        """
        candidates = self._candidates(request)
        chosen = self._choose(candidates, request)
        plan = self._shares(chosen, request)
        if not request.get("overlap"):
            for node, cpus, mem, gres in plan:
                node.cpus_used += cpus
                node.mem_used += mem
                for name, ids in gres.items():
                    node.gres_used[name] |= set(ids)
            self._held[step] = plan
        return [{"node": node.name, "cpus": cpus, "mem": mem, "gres": gres} for node, cpus, mem, gres in plan]

    def release(self, step):
        """Give back what `step` holds; no error if it holds nothing."""
        for node, cpus, mem, gres in self._held.pop(step, ()):
            node.cpus_used -= cpus
            node.mem_used -= mem
            for name, ids in gres.items():
                node.gres_used[name] -= set(ids)

    def lose(self, name):
        """A node is no part of the allocation any more."""
        self._nodes = [node for node in self._nodes if node.name != name]

    def _candidates(self, request):
        exclude = set(request.get("exclude") or ())
        start = request.get("relative") or 0
        return [node for node in self._nodes[start:] if node.name not in exclude]

    def _needs(self, node, request):
        """Whether `node` has, now, what one node of the step must have. Raises Never if it could not even when idle."""
        mem = request.get("mem_per_node") or 0
        if mem and node.mem and mem > node.mem:
            raise Never(NO_MEMORY)
        for item in request.get("gres") or ():
            if node.count_gres(item["name"], item.get("type")) < item.get("count", 1):
                raise Never(BAD_GRES)
        if request.get("overlap"):
            return True
        if not request.get("exact"):
            return node.cpus_used == 0
        per_task = 1 if request.get("overcommit") else max(request.get("cpus_per_task") or 1, 1)
        if node.cpus - node.cpus_used < min(per_task, node.cpus):
            return False
        if mem and node.mem and node.mem - node.mem_used < mem:
            return False
        if request.get("gres") is None:
            if request.get("gpus_total") is not None:
                return bool(node.free_gres("gpu", request.get("gpu_type"))) or not request["gpus_total"]
            if request.get("gpus_per_task"):
                return len(node.free_gres("gpu", None)) >= request["gpus_per_task"]
            return all(not used for used in node.gres_used.values())  # such a step takes all of the job's
        return all(len(node.free_gres(item["name"], item.get("type"))) >= item.get("count", 1) for item in request["gres"])

    def _choose(self, candidates, request):
        """The nodes, in allocation order."""
        wanted = list(dict.fromkeys(request.get("hosts") or request.get("nodelist") or ()))
        known = {node.name: node for node in candidates}
        if any(name not in known for name in wanted):
            raise Never(NO_CONFIG)
        low = max(request.get("nodes_min") or 1, 1)
        high = max(request.get("nodes_max") or len(self._nodes), low)
        if request.get("hosts"):
            low = high = len(wanted)
        must = [known[name] for name in wanted][:high]
        if len(candidates) < low:
            raise Never(NO_CONFIG)
        fits, able = [], []
        problem = None
        for node in candidates:
            try:
                if self._needs(node, request):
                    fits.append(node)
                able.append(node)
            except Never as error:
                problem = problem or error
        narrowed = bool(request.get("exclude") or request.get("nodelist"))
        picked = self._pick(fits, must, low, high, request, idle=False)
        if picked is None:
            if self._pick(able, must, low, high, request, idle=True) is not None:
                raise Busy(BUSY)
            if problem is not None:
                raise problem
            raise Never(NO_CONFIG if narrowed else TOO_MANY)
        return sorted(picked, key=lambda node: node.index)

    def _pick(self, usable, must, low, high, request, idle):
        """As few nodes as may be, `must` among them, whose CPUs are enough; None if there are none."""
        if any(node not in usable for node in must):
            return None

        def room(node):
            return node.cpus if idle or request.get("overlap") else node.cpus - node.cpus_used

        need = 1 if request.get("overcommit") or request.get("hosts") else request["ntasks"] * max(request.get("cpus_per_task") or 1, 1)
        rest = [node for node in usable if node not in must]
        for size in range(max(low, len(must)), min(high, len(usable)) + 1):
            first = must + rest[: size - len(must)]
            largest = must + sorted(rest, key=lambda node: -room(node))[: size - len(must)]
            for found in (first, largest):
                if sum(room(node) for node in found) >= need:
                    return found
        return None

    def _shares(self, chosen, request):
        """[(node, cpus, mem, gres)] for the chosen nodes."""
        overlap, exact = request.get("overlap"), request.get("exact")
        per_task = max(request.get("cpus_per_task") or 1, 1)
        counts = self._counts(chosen, request, per_task) if exact else []
        gpus_left = request.get("gpus_total")
        plan = []
        for place, node in enumerate(chosen):
            cpus = node.cpus
            mem = node.mem
            if exact:
                cpus = min(counts[place] * per_task, node.cpus if overlap else node.cpus - node.cpus_used) or 1
                mem = (
                    request.get("mem_per_node")
                    or (request.get("mem_per_cpu") or 0) * cpus
                    or (node.mem * cpus // node.cpus if node.cpus else 0)
                )
                if not overlap and node.mem and mem > node.mem - node.mem_used:
                    raise (Busy(BUSY) if mem <= node.mem else Never(NO_MEMORY))
            gres = self._gres(node, request, counts[place] if counts else None, gpus_left)
            if gpus_left is not None:
                gpus_left -= sum(len(ids) for ids in gres.values())
            plan.append((node, cpus, mem, gres))
        if gpus_left:
            raise Never(BAD_GRES) if sum(node.count_gres("gpu", None) for node in self._nodes) < request["gpus_total"] else Busy(BUSY)
        return plan

    def _counts(self, chosen, request, per_task):
        """Tasks of each chosen node under the block rule, as the layout will give them for what is free."""
        if request.get("hosts"):
            return [request["hosts"].count(node.name) for node in chosen]
        overlap = request.get("overlap")
        room = [max((node.cpus if overlap else node.cpus - node.cpus_used) // per_task, 1) for node in chosen]
        got, left = [0] * len(chosen), request["ntasks"]
        while left > 0:
            before = left
            for index in range(len(chosen)):
                if left and (got[index] < room[index] or request.get("overcommit")):
                    got[index] += 1
                    left -= 1
            if left == before:
                room = [value + 1 for value in room]
        return got

    def _gres(self, node, request, tasks, gpus_left):
        asked = request.get("gres")
        if asked is None and gpus_left is None and request.get("gpus_per_task") and tasks is not None:
            asked = [{"name": "gpu", "type": None, "count": request["gpus_per_task"] * tasks}]
        if asked is None and gpus_left is None:
            return {name: list(ids) for name, ids in node.gres.items()}
        items = list(asked or ())
        if gpus_left is not None:
            kind = request.get("gpu_type")
            have = node.count_gres("gpu", kind) if request.get("overlap") else len(node.free_gres("gpu", kind))
            items = [{"name": "gpu", "type": request.get("gpu_type"), "count": min(have, max(gpus_left, 0))}]
        out: dict = {}
        taken = set()
        for item in items:
            free = [
                found
                for found in (self._all_gres(node, item) if request.get("overlap") else node.free_gres(item["name"], item.get("type")))
                if found not in taken
            ]
            for name, index in free[: item.get("count", 1)]:
                out.setdefault(name, []).append(index)
                taken.add((name, index))
        return out

    @staticmethod
    def _all_gres(node, item):
        return [(full, index) for full, ids in node.gres.items() if full.split(":")[0] == item["name"] for index in ids]
