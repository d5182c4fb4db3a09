"""The key-value space of a step: at each node, and at the head where they meet. Sans-I/O.

What a rank puts is seen by all, its own node included, once all ranks have entered the next fence (PMI-1: barrier), as with Slurm. A node
tells the head when its last rank has entered, with all that was put there; the head tells every node when the last node has, with all of it.

node → head (`tell(header, body)`): {"kind": "fence", "more"} body: pairs; {"kind": "service", "ask", "what", "name", "port"};
{"kind": "abort", "rank"}. head → node: {"kind": "fenced", "more"} body: pairs; {"kind": "served", "ask", "done", "port"}.
Pairs that are too many for one frame come in several; all but the last have `more`.
"""

from sbroker.agent import wire

PIECE = 1 << 20  # bytes of pairs in one frame


class NodeSpace:
    """The step's space as the ranks of one node see it. name: what they are told it is called; size: ranks of the step."""

    def __init__(self, name, size, mapping, ranks, tell):
        self.name, self.size, self.mapping = name, size, mapping
        self._ranks, self._tell = set(ranks), tell
        self._pairs = {"PMI_process_mapping": mapping}
        self._put = {}  # since the last fence
        self._entered = {}  # rank → fn()
        self._node = {}  # the node's own attributes
        self._waiting = {}  # attribute → [fn(value)]
        self._asked = {}  # number → fn(done, port)
        self._number = 0

    def put(self, key, value):
        self._put[key] = value

    def get(self, key):
        return self._pairs.get(key)

    def enter(self, rank, released):
        """`rank` waits for all others; then `released()`."""
        self._entered[rank] = released
        if len(self._entered) == len(self._ranks):
            put, self._put = self._put, {}
            for piece, more in pieces(put):
                self._tell({"kind": "fence", "more": more}, piece)

    def put_node(self, key, value):
        self._node[key] = value
        for fn in self._waiting.pop(key, ()):
            fn(value)

    def get_node(self, key, wait, then):
        """`then(value)`, None if the node has none; with `wait` when it has one."""
        if wait and key not in self._node:
            self._waiting.setdefault(key, []).append(then)
        else:
            then(self._node.get(key))

    def service(self, what, name, port, then):
        """Publish, unpublish or look up the name of a service in this step; `then(done, port or None)`."""
        self._number += 1
        self._asked[self._number] = then
        self._tell({"kind": "service", "ask": self._number, "what": what, "name": name, "port": port}, b"")

    def abort(self, rank):
        self._tell({"kind": "abort", "rank": rank}, b"")

    def told(self, header, body):
        """A word from the head."""
        if header["kind"] == "served":
            self._asked.pop(header["ask"])(header["done"], header["port"])
            return
        self._pairs.update(unpack(body))
        if not header["more"]:
            entered, self._entered = self._entered, {}
            for released in entered.values():
                released()


class HeadSpace:
    """Where the nodes of a step meet. nodes: those that have ranks; order(node, header, body): a word to one; abort(rank): end the step."""

    def __init__(self, nodes, order, abort):
        self._nodes, self._order, self._abort = list(nodes), order, abort
        self._pairs = {}
        self._entered = set()
        self._services = {}

    def told(self, node, header, body):
        """A word from a node."""
        kind = header["kind"]
        if kind == "abort":
            self._abort(header["rank"])
        elif kind == "service":
            done, port = self._serve(header["what"], header["name"], header["port"])
            self._order(node, {"kind": "served", "ask": header["ask"], "done": done, "port": port}, b"")
        else:
            self._pairs.update(unpack(body))
            if not header["more"]:
                self._entered.add(node)
                self._release()

    def _serve(self, what, name, port):
        if what == "publish":
            self._services[name] = port
        elif what == "unpublish":
            self._services.pop(name, None)
        else:
            return name in self._services, self._services.get(name)
        return True, None

    def _release(self):
        if len(self._entered) < len(self._nodes):
            return
        pairs, self._pairs = self._pairs, {}
        self._entered.clear()
        for piece, more in pieces(pairs):
            for node in self._nodes:
                self._order(node, {"kind": "fenced", "more": more}, piece)


def pieces(pairs):
    """Pairs as [(bytes, whether more come)], at least one."""
    out, part, size = [], [], 0
    for key, value in pairs.items():
        data = wire.fields(_bytes(key), _bytes(value))
        if part and size + len(data) > PIECE:
            out.append((b"".join(part), True))
            part, size = [], 0
        part.append(data)
        size += len(data)
    return [*out, (b"".join(part), False)]


def unpack(data):
    """The inverse, of one piece."""
    parts = [part.decode("utf-8", "surrogateescape") for part in wire.split_fields(data)]
    return dict(zip(parts[::2], parts[1::2]))


def _bytes(text):
    return text.encode("utf-8", "surrogateescape")
