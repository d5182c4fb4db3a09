"""Between the nodes of a run that have files of their own: what one has changed, the others see before and after each step.

As with a shared file system a script may write a file and have a step on other nodes read it, or look at what the step has written there.
The broker moves the files (by way of the submit host); while it is away steps go on without.
"""


class StepFiles:
    """Belongs to the head's supervisor. `nodes`: those of the run whose files were brought there, once the run starts."""

    def __init__(self, sup):
        self.sup, self.nodes = sup, frozenset()
        self._asked = {}  # our channel → what is to be done then
        self._count = 0

    def before(self, step_nodes, then):
        """`then()` when the nodes of a step have what the head has changed."""
        others = self._others(step_nodes)
        self._ask([self.sup.node] if others else [], others, then)

    def after(self, step_nodes, then):
        """`then()` when the head has what they have changed."""
        others = self._others(step_nodes)
        self._ask(others, [self.sup.node] if others else [], then)

    def _others(self, step_nodes):
        return [node for node in step_nodes if node != self.sup.node and node in self.nodes]

    def _ask(self, sources, targets, then):
        sup, info = self.sup, self.sup.info
        if not sources or sup.agent is None:
            return then()
        self._count += 1
        number = "f%d" % self._count
        self._asked[number] = then
        sup.tell({"op": "chan_open", "chan": number, "job": info["job"], "run": info["run"], "kind": "sync", "uid": info["user"]["uid"],
                  "options": {"from": sources, "to": targets}})  # fmt: skip

    def frame(self, op, header):
        """A frame of the agent's. True if it was for us."""
        if header.get("chan") not in self._asked:
            return False
        if op == "chan_close":  # done, or nobody there who could
            self._asked.pop(header["chan"])()
        return True

    def agent_gone(self):
        asked, self._asked = self._asked, {}
        for then in asked.values():
            then()
