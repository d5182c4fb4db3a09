"""PMI at a node: a socket for each task, named to it by PMI_FD, and the space behind them."""


from sbroker.agent.loop import Stream

from .. import lean
from .. import sockets as socket
from .codec import PmiError
from .mapping import process_mapping
from .rank import Rank
from .space import NodeSpace

_UNREAD = 1 << 20  # bytes of answers that a task has not taken
KINDS = ("pmi2",)  # of --mpi, for which tasks get such a socket


class NodePmi:
    """The PMI of one step here, a `stepnode.NodeStep`."""

    def __init__(self, step):
        self._step, self._loop = step, step.sup.loop
        describe, ranks = step.fields["describe"], step.fields["ranks"]
        info = step.sup.info
        self._job = "%s.%s" % (info["job"], step.step)
        # MPICH names its shared memory after the space, and a killed program leaves it behind: another broker of this machine, whose jobs have
        # the same numbers, and the job's next run must not find it
        unique = lean.sha256(("%s %s %s" % (info["store"], self._job, info["run"])).encode()).hexdigest()[:12]
        self.space = NodeSpace("%s.%s" % (self._job, unique), describe["ntasks"], process_mapping(describe["layout"]["tasks"]), ranks, self._tell)
        self._streams = set()

    def _tell(self, header, body):
        self._step.tell(dict(header, op="step_pmi"), body)

    def _complain(self, rank, text):
        """What a rank did wrong, into its own standard error, as Slurm says it."""
        sup = self._step.sup
        self._step.outputs[2].send(rank, sup.front.notice("mpi", {"node": sup.node, "text": text}))

    def join(self, rank, env):
        """A socket for the task `rank`, named in its `env` (changed). The task's descriptor, which the caller closes. OSError."""
        ours, theirs = socket.socketpair()
        stream = Stream(self._loop, ours)
        conversation = Rank(rank, self.space, stream.write, lambda text: self._complain(rank, text))

        def data(received):
            try:
                conversation.feed(received)
            except PmiError:
                self._close(stream)
            if conversation.over:
                self._streams.discard(stream)
                stream.finish()
            elif stream.pending > _UNREAD:
                stream.pause()  # it asks and does not read: its answers wait in its own process


        stream.on_data, stream.on_drain = data, stream.resume
        stream.on_close = lambda error: self._streams.discard(stream)
        stream.resume()
        self._streams.add(stream)
        fd = theirs.detach()
        env.update(PMI_FD=str(fd), PMI_RANK=str(rank), PMI_SIZE=str(self.space.size), PMI_JOBID=self._job)
        return fd

    def told(self, header, body):
        self.space.told(header, body)

    def _close(self, stream):
        self._streams.discard(stream)
        stream.close()

    def close(self):
        """The step is over here."""
        for stream in list(self._streams):
            self._close(stream)
