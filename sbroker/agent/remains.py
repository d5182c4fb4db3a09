"""What a supervisor that was killed has left of its script's output: sent on by a process of the run's user, before the run counts as empty.

The spool's files lie in the run's folder, and beside them the marks of what the writer has. A process that was forked for nothing else goes
on from there, by a channel of the same kind. It ends with the agent, and the next one begins anew: the marks are in the folder.
"""

import json
import os
import re
import sys

from . import kernel, procs, users
from .loop import Stream, forked
from .spool import MARKS, Spool
from .wire import LinkReader, WireError, link_frame

_SEGMENT = re.compile(r"output([12])\.([0-9]{1,9})\Z")


class Sender:
    """What a Spool needs of its supervisor, of a run that has none any more."""

    def __init__(self, loop, rundir, info, sock):
        self.loop, self.rundir, self.info, self.calls, self.plain = loop, rundir, info, self, False
        self.spool: Spool
        self.agent, reader = Stream(loop, sock), LinkReader()

        def data(received):
            try:
                for header, body in reader.feed(received):
                    if str(header.get("op")).startswith("chan_") and header.get("chan") == self.spool.number:
                        self.spool.frame(header["op"], header, body)
            except WireError:
                loop.stop()

        self.agent.on_data, self.agent.on_close = data, lambda error: loop.stop()

    def begin(self, marks):
        """marks: as the writer said them last."""
        self.spool = Spool(self, len(marks), left=marks)
        if self.spool.finish(self.loop.stop):
            return self.loop.stop()
        self.spool.agent_came()
        self.agent.resume()

    def tell(self, header, body=b""):
        self.agent.write(link_frame(header, body))

    def tell_all(self, frames):
        for header, body in frames:
            self.tell(header, body)

    def report(self, kind, data):
        """Reports are a supervisor's: this is for the agent's log."""
        print(f"run {self.info['job']}.{self.info['run']}: {data.get('text')}", file=sys.stderr)


def marks_of(rundir):
    """The marks that lie in the run's folder, None if there are none that can be read, or nothing of the output."""
    try:
        if not any(_SEGMENT.match(name) for name in os.listdir(rundir.path)):
            return None
        found = json.loads(rundir.read(MARKS).decode())
        marks = [[int(offset), int(place)] for offset, place in found]
    except (OSError, ValueError, TypeError):
        return None
    return marks if len(marks) in (1, 2) and all(number >= 0 for mark in marks for number in mark) else None


def begin(runs, record, then):
    """Send what is left of the record's output, then `then()`. False if nothing is, or it cannot be sent."""
    relay, info = runs.relay, record.info
    if info is None or not info.get("streamed") or marks_of(record.dir) is None:
        return False
    try:
        pid, ours = forked(lambda theirs: _work(relay, record, theirs))
    except OSError as error:
        print(f"run {info['job']}.{info['run']}: the rest of its output stays unsent: {error}", file=sys.stderr)
        return False
    record.pid = record.peer = pid
    runs.attach(record, Stream(relay.loop, ours), then)
    relay.loop.on_child(pid, lambda status: runs.exited(pid))
    return True


def _work(relay, record, sock):
    """In the child; never returns."""
    try:
        relay.loop.after_fork()
        procs.close_all_but({0, 1, 2, sock.fileno()} | relay.loop.own_fds())
        os.setsid()
        kernel.set_name("sbroker-rest")
        users.become(record.info["user"])
        sender = Sender(relay.loop, record.dir, record.info, sock)
        sender.begin(marks_of(record.dir))
        relay.loop.run()
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)
