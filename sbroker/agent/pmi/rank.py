"""The conversation with one rank: PMI-1 or PMI-2, whichever it speaks. Sans-I/O.

What is asked that Slurm's own server leaves without an answer is answered with an error here: a program that waits for ever helps nobody.
"""

from . import codec
from .codec import Command, PmiError

_KVSNAME_MAX, _KEY_MAX, VALUE_MAX = 256, 64, 1024  # what Slurm tells the ranks
_COMPLAINTS = 8  # of one rank
_NO_SPAWN = "spawning processes is not offered here; start them as tasks of the step"


class Rank:
    """One rank of the step. `space`: the node's `space.NodeSpace`; `send(bytes)` to the task; `complain(text)` when it speaks no PMI."""

    def __init__(self, rank, space, send, complain):
        self.rank, self._space, self._send, self._told = rank, space, send, complain
        self._complaints = set()
        self._reader = codec.Reader()
        self._begun = False
        self.over = False  # it has said that it is done

    def feed(self, data):
        """Bytes from the task. PmiError when the connection is of no more use; that has been complained of."""
        self._reader.feed(data)
        try:
            while not self.over:
                command = self._reader.take()
                if command is None:
                    return
                self._handle(command)
        except PmiError as error:
            self._complain(str(error))
            raise

    def _complain(self, text):
        """Once each, and not without end."""
        if text not in self._complaints and len(self._complaints) < _COMPLAINTS:
            self._complaints.add(text)
            self._told(text)

    def _handle(self, command):
        if not self._begun:
            return self._init(command)
        table = _ANSWERS_2 if self._reader.version == 2 else _ANSWERS_1
        fn = table.get(command.name)
        if fn is None:
            self._complain("the command %r is not offered" % command.name)
            return self._answer(command.name + ("-response" if self._reader.version == 2 else "_result"), rc="1")
        fn(self, command)

    def _answer(self, name, **fields):
        command = Command(name, {key.replace("__", "-"): value for key, value in fields.items()})
        self._send(codec.frame(command) if self._reader.version == 2 else codec.line(command))

    def _init(self, command):
        if command.name != "init":
            raise PmiError("it begins with %r, not init" % command.name)
        asked = (command.number("pmi_version", 0), command.number("pmi_subversion", 0))
        known = asked in ((1, 0), (1, 1), (2, 0))
        self._answer("response_to_init", rc="0" if known else "-1", pmi_version=str(asked[0]), pmi_subversion=str(asked[1]))
        if not known:
            raise PmiError("version %d.%d is not known: 1.1 and 2.0 are" % asked)
        self._begun = True
        self._reader.version = asked[0]

    # --- version 1

    def _get_maxes(self, _command):
        longest = max(VALUE_MAX, len(self._space.mapping) + 1)
        self._answer("maxes", rc="0", kvsname_max=str(_KVSNAME_MAX), keylen_max=str(_KEY_MAX), vallen_max=str(longest))

    def _universe(self, _command):
        self._answer("universe_size", rc="0", size=str(self._space.size))

    def _appnum(self, _command):
        self._answer("appnum", rc="0", appnum="-1")

    def _kvsname(self, _command):
        self._answer("my_kvsname", rc="0", kvsname=self._space.name)

    def _put(self, command):
        self._space.put(command.get("key", ""), command.get("value", ""))
        self._answer("put_result", rc="0")

    def _get(self, command):
        value = self._space.get(command.get("key", ""))
        if value is None:
            self._answer("get_result", rc="1")
        else:
            self._answer("get_result", rc="0", value=value)

    def _barrier(self, _command):
        self._space.enter(self.rank, lambda: self._answer("barrier_out", rc="0"))

    def _finalize(self, _command):
        self._answer("finalize_ack", rc="0")
        self.over = True

    def _publish(self, command):
        self._name(command, "publish", "publish_result")

    def _unpublish(self, command):
        self._name(command, "unpublish", "unpublish_result")

    def _lookup(self, command):
        self._name(command, "lookup", "lookup_result")

    def _name(self, command, what, name):
        def answer(done, port):
            found = {"port": port} if done and port is not None else {}
            self._answer(name, info="ok" if done else "fail", **found)

        self._space.service(what, command.get("service", ""), command.get("port", ""), answer)

    def _spawn(self, command):
        if command.number("spawnssofar", 1) < command.number("totspawns", 1):
            return  # one command in several parts: the last one is answered
        self._complain(_NO_SPAWN)
        self._answer("spawn_result", rc="1", errmsg=_NO_SPAWN.replace(" ", "_"))

    def _abort(self, _command):
        self._space.abort(self.rank)

    # --- version 2

    def _full_init(self, command):
        self._answer(
            "fullinit-response",
            rc="0",
            pmi__version="2",
            pmi__subversion="0",
            rank=str(self.rank),
            size=str(self._space.size),
            appnum="-1",
            debugged="FALSE",
            pmiverbose="FALSE",
        )

    def _found(self, name, value):
        if value is None:
            self._answer(name, rc="0", found="FALSE")
        else:
            self._answer(name, rc="0", found="TRUE", value=value)

    def _job_id(self, _command):
        self._answer("job-getid-response", rc="0", jobid=self._space.name)

    def _job_attribute(self, command):
        key = command.get("key", "")
        value = str(self._space.size) if key == "universeSize" else self._space.mapping if key == "PMI_process_mapping" else None
        # a client of version 2 has room for so much and no more; without the mapping it compares host names
        self._found("info-getjobattr-response", value if value is None or len(value) < VALUE_MAX else None)

    def _put_node(self, command):
        self._space.put_node(command.get("key", ""), command.get("value", ""))
        self._answer("info-putnodeattr-response", rc="0")

    def _get_node(self, command):
        wait = command.get("wait", "").upper() == "TRUE"
        self._space.get_node(command.get("key", ""), wait, lambda value: self._found("info-getnodeattr-response", value))

    def _kvs_put(self, command):
        self._space.put(command.get("key", ""), command.get("value", ""))
        self._answer("kvs-put-response", rc="0")

    def _kvs_get(self, command):
        self._found("kvs-get-response", self._space.get(command.get("key", "")))

    def _fence(self, _command):
        self._space.enter(self.rank, lambda: self._answer("kvs-fence-response", rc="0"))

    def _finalize_2(self, _command):
        self._answer("finalize-response", rc="0")
        self.over = True

    def _name_2(self, command):
        what = command.name[len("name-") :]

        def answer(done, port):
            found = {"value": port, "port": port} if done and port is not None else {}  # Slurm says value, MPICH's description port
            self._answer(command.name + "-response", rc="0" if done else "1", **found)

        self._space.service(what, command.get("name", ""), command.get("port", ""), answer)

    def _spawn_2(self, _command):
        self._complain(_NO_SPAWN)
        self._answer("spawn-response", rc="1", errmsg=_NO_SPAWN)


_ANSWERS_1 = {
    "get_maxes": Rank._get_maxes,
    "get_universe_size": Rank._universe,
    "get_appnum": Rank._appnum,
    "get_my_kvsname": Rank._kvsname,
    "put": Rank._put,
    "get": Rank._get,
    "barrier_in": Rank._barrier,
    "finalize": Rank._finalize,
    "publish_name": Rank._publish,
    "unpublish_name": Rank._unpublish,
    "lookup_name": Rank._lookup,
    "spawn": Rank._spawn,
    "abort": Rank._abort,
}
_ANSWERS_2 = {
    "fullinit": Rank._full_init,
    "job-getid": Rank._job_id,
    "info-getjobattr": Rank._job_attribute,
    "info-putnodeattr": Rank._put_node,
    "info-getnodeattr": Rank._get_node,
    "kvs-put": Rank._kvs_put,
    "kvs-get": Rank._kvs_get,
    "kvs-fence": Rank._fence,
    "finalize": Rank._finalize_2,
    "name-publish": Rank._name_2,
    "name-unpublish": Rank._name_2,
    "name-lookup": Rank._name_2,
    "spawn": Rank._spawn_2,
    "abort": Rank._abort,
}
