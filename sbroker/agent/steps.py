"""The head's steps: numbers, ledger, launch on all nodes, and what comes back from them. Other nodes carry out the orders (stepnode.py).

`Steps` lives on every supervisor of a run (`session.setup`); only the head's makes steps. What a step says goes to its listeners: the
session of its srun, and those of sattach.
"""

import _signal as signal
import time

from .bcast_node import Receiver
from .lean import OrderedDict
from .ledger import Busy, Ledger, Never
from .stepnode import NodeStep

_TO_NODE = ("step_launch", "step_in", "step_credit", "step_signal", "step_cancel", "step_window", "step_space")
_TO_HEAD = ("step_started", "step_out", "step_took", "step_exit", "step_pmi", "step_done")
_FILES = ("bcast", "bcast_done")


class Step:
    """A step that was created. `listeners`: objects with started(node, ranks), output(node, rank, fd, data), exited(node, ranks, status),
    node_failed(node), room() (may more output come?), aborted(why) and finished()."""

    def __init__(self, number, request, placed, layout):
        self.number, self.request, self.placed, self.layout = number, request, placed, layout
        self.listeners = []
        self.nodes_left = set(layout["nodes"])
        self.status = {}  # rank → wait status
        self.owed = OrderedDict()  # (node, fd) → bytes not credited yet
        self.taken = {}  # node → bytes of standard input taken
        self.usage = {}
        self.why = ""  # it was ended because
        self.cancelled = False
        self.began = time.time()
        self.limit = None  # Timer
        self.space = None  # HeadSpace, where tasks speak PMI

    @property
    def worst(self):
        """The wait status that speaks for the step: the highest exit code as srun counts it."""
        return max(self.status.values(), key=lambda status: 128 + (status & 0x7F) if status & 0x7F else status >> 8, default=0)


class Steps:
    """All steps of one run, as this node sees them."""

    def __init__(self, sup):
        self.sup = sup
        self.here = {}  # step number → NodeStep
        self.steps = {}  # on the head: number → Step
        self.traffic = float("-inf")  # when something went in or out last (time of the loop)
        self._number = 0
        self._waiting = []  # [(request, fn)] in order
        self.ledger = Ledger(sup.info["nodes"])  # the head's is the one that counts
        self._receiver = Receiver()
        for op in _TO_NODE + _TO_HEAD + _FILES:
            sup.on_peer(op, self._frame)
        sup.on_peer_change(self._peer_changed)
        if sup.is_head:
            sup.on_order("ending", lambda header: self._run_ends(header["why"]))
            sup.on_order("signal", self._signalled)
            sup.on_over(lambda: self._run_ends("over"))

    # --- frames

    def order(self, node, header, body=b""):
        """To a node's supervisor; the own node's comes around the loop, so that both take the same way."""
        if node == self.sup.node:
            self.sup.loop.call_soon(lambda: self._frame(node, header, body))
        elif node in self.sup.peers:
            self.sup.peers[node].send(header, body)

    def _tell(self, step, header, body=b""):
        header["step"] = step
        if self.sup.is_head:
            self._frame(self.sup.node, header, body)
        else:
            peer = self.sup.peers.get(self.sup.info["head"])
            if peer is not None:
                peer.send(header, body)

    def _frame(self, node, header, body):
        op = header["op"]
        if op in _TO_NODE:
            self._at_node(op, header, body)
        elif op in _FILES:
            self._file(node, header, body)
        elif header["step"] in self.steps:
            getattr(self, "_" + op[5:])(self.steps[header["step"]], node, header, body)

    def _file(self, node, header, body):
        """A piece of a file for this node (sbcast), or a node's word that it has all of it."""
        sup, number = self.sup, header["id"]
        if header["op"] == "bcast_done":
            session = sup.sessions.get(number)
            if session is not None and session.broadcast is not None:
                session.broadcast.node_done(node, header["errno"])
            return

        def answer(errno):
            told = {"op": "bcast_done", "id": number, "errno": errno}
            if sup.is_head:
                self._file(sup.node, told, b"")
            elif sup.info["head"] in sup.peers:
                sup.peers[sup.info["head"]].send(told)

        self._receiver.piece(header, body, answer)

    def _at_node(self, op, header, body):
        number = header["step"]
        if op == "step_launch":
            if number in self.here:
                return  # a task is executed once, whatever is said twice
            found = self.here[number] = NodeStep(self.sup, lambda told, data=b"": self._tell(number, told, data), header, _environ(body))
            found.launch()
        else:
            if number not in self.here:
                return
            found = self.here[number]
            if op == "step_in":
                found.stdin(header, body)
            elif op == "step_credit":
                found.credit(header)
            elif op == "step_space":
                found.space(header, body)
            elif op == "step_window":
                found.window(header)
            else:
                getattr(found, op[5:])(header["signum"])
        if found.done:
            self.here.pop(number, None)

    # --- making steps

    def create(self, request, then):
        """Place `request` and call `then(step, None)`; or `then(None, reason)` when it cannot be; or `then(None, Busy)` each time it has to
        wait (and later one of the others). Returns a handle for `forget`."""
        entry = [request, then, False]
        if not self._try(entry):
            self._waiting.append(entry)
        return entry

    def forget(self, entry):
        """Give up a request that waits; no error if it does not."""
        if entry in self._waiting:
            self._waiting.remove(entry)

    def _try(self, entry):
        """True when it is decided, one way or the other."""
        request, then, _ = entry
        sup, number = self.sup, self._number
        if sup.over:
            then(None, "Job/step already completing or completed")
            return True
        missing = [share["node"] for share in sup.info["nodes"] if share["node"] != sup.node and share["node"] not in sup.peers]
        try:
            placed = self.ledger.place(number, request)
        except Never as error:
            then(None, str(error))
            return True
        except Busy as error:
            if request.get("immediate") is not None and request["immediate"] <= 0:
                then(None, str(error))
                return True
            then(None, Busy)
            return False
        layout = sup.front.layout(sup.info, request, placed)
        if "error" in layout:
            self.ledger.release(number)
            then(None, layout["error"])
            return True
        if any(node in missing for node in layout["nodes"]):
            self.ledger.release(number)  # the head is still calling that node's supervisor: looked at again when it answers
            return False
        self._number += 1
        placed = [share for share in placed if share["node"] in layout["nodes"]]
        step = self.steps[number] = Step(number, request, placed, layout)
        then(step, None)
        return True

    def abandon(self, step):
        """Undo a step that was created and never launched."""
        self.steps.pop(step.number, None)
        self.ledger.release(step.number)
        self._retry()

    def _retry(self):
        waiting, self._waiting = self._waiting, []
        self._waiting = [entry for entry in waiting if not self._try(entry)] + self._waiting

    def _peer_changed(self, node, there):
        """A node was met, or is lost: its supervisor is gone, or was silent for too long. So are its tasks, and nobody will tell how they
        ended. The job goes with it, unless it was told to go on without; then the node's steps go, unless they were told the same."""
        if not self.sup.is_head:
            return
        if there:
            return self._retry()
        self.ledger.lose(node)
        hit = [step for step in self.steps.values() if node in step.nodes_left]
        for step in hit:
            for listener in list(step.listeners):
                listener.node_failed(node)
        goes_on = self.sup.info["spec"].get("no_kill")
        if not goes_on:
            self.sup.ending.begin("node_fail")
        for step in hit:
            if step.number not in self.steps:
                continue
            if not goes_on:
                self.cancel(step, signal.SIGTERM, "node_fail")
            elif not step.request.get("no_kill"):  # without a word: only the step ends
                step.why, step.cancelled = step.why or "node_fail", True
                for other in step.nodes_left - {node}:
                    self.order(other, {"op": "step_cancel", "step": step.number, "signum": int(signal.SIGKILL)})
            self._done(step, node, {"usage": {}}, b"")
        self._retry()

    def launch(self, step, stdin, details):
        """Start the tasks. stdin: "null", "all", or {rank: …} of those that read; details: fields of NodeStep beside these."""
        sup, request = self.sup, step.request
        places = details["places"]  # what srun named as its node has it goes to all as the submit host has it
        describe = dict(details["describe"], step=step.number, layout=step.layout, nodes=step.placed)
        body = b"".join(b"%s=%s\0" % (_bytes(key), _bytes(value)) for key, value in places.environ_here(request["env"]).items())
        programs = request.get("programs")
        if request.get("mpi") == "pmi2":
            from .pmi.space import HeadSpace  # not at the agent's start

            step.space = HeadSpace(
                step.layout["nodes"],
                lambda node, told, data: self.order(node, dict(told, op="step_space", step=step.number), data),
                lambda rank: self.cancel(step, signal.SIGKILL, "mpi_abort"),
            )
        for index, node in enumerate(step.layout["nodes"]):
            ranks = step.layout["tasks"][index]
            header = {
                "op": "step_launch",
                "step": step.number,
                "ranks": ranks,
                "argv": places.words_here(details["argv"](node)),
                "cwd": places.here(request["cwd"]),
                "at": sup.at.get(node),
                "programs": {str(rank): places.words_here(programs[rank]) for rank in ranks} if programs else None,
                "umask": details["umask"],
                "limits": details["limits"],
                "stdin": stdin,
                "unbuffered": bool(request.get("unbuffered")),
                "pty": details.get("pty"),
                "describe": describe,
                "mem": step.placed[index].get("mem") or 0,
                "prolog": request.get("task_prolog"),
                "epilog": request.get("task_epilog"),
            }
            self.order(node, header, body)
        gres: dict = {}
        for share in step.placed:
            for name, ids in share["gres"].items():
                gres[name] = gres.get(name, 0) + len(ids)
        sup.report(
            "step_start",
            {
                "step": step.number,
                "name": request["name"],
                "nodes": step.layout["nodes"],
                "ntasks": request["ntasks"],
                "cpus": sum(share["cpus"] for share in step.placed),
                "mem": sum(share["mem"] for share in step.placed),
                "gres": gres,
                "submit_line": request.get("submit_line", ""),
                "srun_host": details.get("host", ""),
                "srun_pid": details.get("pid", 0),
            },
        )
        if request.get("time_limit"):
            step.limit = sup.loop.call_later(request["time_limit"], lambda: self.cancel(step, signal.SIGTERM, "step_time_limit"))

    # --- running steps

    def stdin(self, step, ranks, data, eof=False):
        """Standard input for `ranks` (None: all)."""
        self.traffic = self.sup.loop.now()
        header = {"op": "step_in", "step": step.number, "ranks": ranks, "eof": eof}
        for node in step.layout["nodes"]:
            if node in step.nodes_left:
                self.order(node, dict(header), data)

    def input_taken(self, step):
        """Bytes of standard input that every node with tasks left has taken; None if none is left."""
        return min((step.taken.get(node, 0) for node in step.nodes_left), default=None)

    def signal(self, step, signum):
        for node in step.nodes_left:
            self.order(node, {"op": "step_signal", "step": step.number, "signum": int(signum)})

    def window(self, step, rows, cols):
        self.order(step.layout["nodes"][0], {"op": "step_window", "step": step.number, "rows": rows, "cols": cols})

    def cancel(self, step, signum, why):
        """End the step: `signum` now, SIGKILL after KillWait. `why` is for the record and for what is said of it."""
        if not step.cancelled:
            step.cancelled, step.why = True, why
            for listener in list(step.listeners):
                listener.aborted(why)
        for node in step.nodes_left:
            self.order(node, {"op": "step_cancel", "step": step.number, "signum": int(signum)})

    def _run_ends(self, why):
        """The run is being ended: supervisors signal the tasks themselves, here it is only said."""
        for step in list(self.steps.values()):
            if not step.cancelled:
                step.cancelled, step.why = True, why
                for listener in list(step.listeners):
                    listener.aborted(why)
        waiting, self._waiting = self._waiting, []
        for entry in waiting:
            entry[1](None, "Job/step already completing or completed")

    def _signalled(self, header):
        """A signal for steps: every supervisor has sent it to its own processes already. For one step, TERM and KILL are its end."""
        step = self.steps.get(header.get("step"))
        if step is not None and header["signum"] in (signal.SIGTERM, signal.SIGKILL):
            self.cancel(step, 0, "cancel")

    # --- what nodes tell

    def _started(self, step, node, header, _body):
        for listener in list(step.listeners):
            listener.started(node, header["ranks"])

    def _out(self, step, node, header, body):
        self.traffic = self.sup.loop.now()
        key = (node, header["fd"])
        step.owed[key] = step.owed.get(key, 0) + len(body)
        for listener in list(step.listeners):
            listener.output(node, header["rank"], header["fd"], body)
        self.room(step)

    def room(self, step):
        """Give credit for what was taken if all listeners have room again."""
        if step.owed and all(listener.room() for listener in step.listeners):
            owed, step.owed = step.owed, OrderedDict()
            for (node, fd), count in owed.items():
                if node in step.nodes_left:
                    self.order(node, {"op": "step_credit", "step": step.number, "fd": fd, "bytes": count})

    def _pmi(self, step, node, header, body):
        if step.space is not None:
            step.space.told(node, header, body)

    def _took(self, step, node, header, _body):
        step.taken[node] = header["bytes"]
        for listener in list(step.listeners):
            listener.took()

    def _exit(self, step, node, header, _body):
        for rank in header["ranks"]:
            step.status[rank] = header["status"]
        for listener in list(step.listeners):
            listener.exited(node, header["ranks"], header["status"])

    def _done(self, step, node, header, _body):
        self.here.pop(step.number, None) if node == self.sup.node else None
        step.nodes_left.discard(node)
        for key, value in header["usage"].items():
            step.usage[key] = max(step.usage.get(key, 0), value) if key == "max_rss_kib" else step.usage.get(key, 0) + value
        if step.nodes_left:
            for listener in list(step.listeners):
                listener.took()
            return
        if step.limit is not None:
            step.limit.cancel()
        del self.steps[step.number]
        self.ledger.release(step.number)
        self.sup.report("step_end", self._end(step))
        for listener in list(step.listeners):
            listener.finished()
        self._retry()
        self.sup.ending.child_ended()

    def _end(self, step):
        worst = step.worst
        signum = worst & 0x7F
        state = "COMPLETED"
        if step.why in ("cancel", "client") or (step.cancelled and step.why not in ("step_time_limit", "over", "exit")):
            state = "CANCELLED"
        elif step.why == "step_time_limit":
            state = "TIMEOUT"
        elif worst:
            state = "CANCELLED" if step.cancelled else "FAILED"
        return {"step": step.number, "code": 0 if signum else worst >> 8, "signal": signum, "state": state, "usage": step.usage}


def _bytes(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _environ(body):
    """NUL-ended KEY=value items as a dict of str."""
    env: dict = {}
    for item in body.split(b"\0"):
        key, sep, value = item.partition(b"=")
        if sep and key:
            env.setdefault(key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
    return env
