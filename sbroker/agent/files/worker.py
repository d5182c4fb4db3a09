"""One worker: what it does on its side, from the first frame to the outcome. The contract is the package's docstring."""

import errno
import os

from . import place
from .base import Cancelled
from .session import TOLD, Session
from .transfer import Broken, Failed, Pipe
from .tree import native, text

_FULL = (errno.ENOSPC, errno.EDQUOT)


def run(sock, options):
    """Be one side of a sync until it is done. `sock`: connected stream socket, closed at the end. Returns the outcome; never raises."""
    outcome = _outcome()
    pipe = Pipe(sock, options.get("compress", True))
    told = session = None
    umask = os.umask(0)  # every mode is given
    try:
        sock.setblocking(True)
        session = Session(pipe, options, outcome)
        session.run()
    except Failed as failure:
        told = failure.told
        outcome.update(error=str(failure), again=failure.again, final=failure.final)
    except Exception as error:
        outcome.update(_failure(error, options))
        if session is not None and getattr(error, "errno", None) in _FULL:
            session.store.prune(0)  # what came has to come again, but there may be room for it then
    if session is not None:
        session.store.close()
    try:
        pipe.send(outcome)
        if told is None:
            pipe.drain()  # what the other side still sends must not meet a closed socket: it would lose our outcome
    except (Broken, ValueError):
        pass
    sock.close()
    os.umask(umask)
    return outcome


def alone(options):
    """An op that has no other side. Returns the outcome; never raises."""
    outcome = _outcome()
    try:
        if options["do"] != "wipe":
            raise ValueError("%s needs another side" % options["do"])
        if os.path.isdir(native(options["state"])):
            left = place.wipe(options["state"])
            outcome["skipped"] = [{"path": text(path), "text": sentence} for path, sentence in left[:TOLD]]
            if left:
                outcome["error"] = "%s was not wiped: %s %s" % (options["node"], text(left[0][0]), left[0][1])
    except Exception as error:
        outcome.update(_failure(error, options))
    return outcome


def _outcome():
    return {"op": "done", "error": "", "again": False, "final": False, "bytes": 0, "files": 0, "removed": 0, "roots": [], "conflicts": [], "skipped": [], "more": 0,
            "notes": [], "env": {}}


def _failure(error, options):
    where = options["node"] if options["side"] == "node" else "the submit host"
    if isinstance(error, (Broken, Cancelled)):
        return {"error": "the connection between the submit host and %s broke" % options["node"], "again": True}
    if isinstance(error, place.Gone):
        return {"error": "the files on %s are gone, nothing of them can be brought back" % options["node"], "again": False, "final": True}
    if isinstance(error, OSError):
        sentence = "%s on %s" % (error.strerror or error, where)
        if error.filename is not None:
            sentence += ": %s" % text(os.fsencode(error.filename))
        return {"error": sentence, "again": error.errno in _FULL + (errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE)}
    return {"error": "files: %s: %s" % (type(error).__name__, error), "again": False}
