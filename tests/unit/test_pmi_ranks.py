"""Ranks of a step over several nodes, in any order of what happens: each sees what all put before the fence, and nothing before that."""

import random

import pytest

from sbroker.agent.pmi import codec, space
from sbroker.agent.pmi.codec import Command, PmiError
from sbroker.agent.pmi.mapping import process_mapping
from sbroker.agent.pmi.rank import Rank

INIT = {1: b"cmd=init pmi_version=1 pmi_subversion=1\n", 2: b"cmd=init pmi_version=2 pmi_subversion=0\n"}


class Client:
    """A rank's program: sends a command when it is stepped, keeps the answers."""

    def __init__(self, world, rank, node, version):
        self.rank, self.node, self.version, self.world = rank, node, version, world
        self.answers, self.complaints = [], []
        self._reader = codec.Reader()
        self.server = Rank(rank, world.spaces[node], self._got, self.complaints.append)
        self.server.feed(INIT[version])
        assert self.answers.pop().get("rc") == "0"
        self._reader.version = version

    def _got(self, data):
        self._reader.feed(data)
        while (answer := self._reader.take()) is not None:
            self.answers.append(answer)

    def say(self, name, /, **fields):
        """Send; the answer if it came at once, else None."""
        before = len(self.answers)
        command = Command(name.replace("__", "-"), fields)
        self.server.feed(codec.frame(command) if self.version == 2 else codec.line(command))
        return self.answers[-1] if len(self.answers) > before else None

    def put(self, key, value):
        answer = self.say("put", kvsname="7.0", key=key, value=value) if self.version == 1 else self.say("kvs__put", key=key, value=value)
        assert answer.get("rc") == "0"

    def get(self, key):
        if self.version == 1:
            answer = self.say("get", kvsname="7.0", key=key)
            return answer.get("value") if answer.get("rc") == "0" else None
        answer = self.say("kvs__get", jobid="7.0", srcid="-1", key=key)
        return answer.get("value") if answer.get("found") == "TRUE" else None

    def fence(self):
        return self.say("barrier_in" if self.version == 1 else "kvs__fence")


class World:
    """`tasks`: the ranks of each node. Frames between nodes and head wait in `wires`, in order for each way, until `deliver`."""

    def __init__(self, tasks, versions=(1,), seed=0):
        self.random = random.Random(seed)
        self.tasks, self.wires, self.aborted = tasks, {}, []
        nodes = ["node%d" % number for number in range(len(tasks))]
        size = sum(map(len, tasks))
        self.head = space.HeadSpace(nodes, lambda node, header, body: self.queue(("down", node), header, body), self.aborted.append)
        self.spaces = [
            space.NodeSpace("7.0", size, process_mapping(tasks), ranks, lambda header, body, node=node: self.queue(("up", node), header, body))
            for node, ranks in zip(nodes, tasks, strict=True)
        ]
        self.clients = [
            Client(self, rank, index, self.random.choice(versions)) for index, ranks in enumerate(tasks) for rank in sorted(ranks)
        ]
        self.random.shuffle(self.clients)

    def queue(self, wire, header, body):
        self.wires.setdefault(wire, []).append((header, body))

    def deliver(self):
        """One frame of some wire arrives; False if none is on its way."""
        waiting = [wire for wire, frames in self.wires.items() if frames]
        if not waiting:
            return False
        way, node = wire = self.random.choice(waiting)
        header, body = self.wires[wire].pop(0)
        if way == "up":
            self.head.told(node, header, body)
        else:
            self.spaces[int(node[4:])].told(header, body)
        return True

    def settle(self):
        while self.deliver():
            pass


@pytest.mark.parametrize("seed", range(40))
def test_fences(seed):
    """Three fences; at each rank in an order of its own: puts, the fence, then what all others put."""
    rng = random.Random(seed)
    tasks, size = [[] for _ in range(rng.randint(1, 5))], rng.randint(1, 24)
    for rank in range(size):
        rng.choice(tasks).append(rank)
    tasks = [ranks for ranks in tasks if ranks]
    world = World(tasks, versions=(1, 2), seed=seed)
    for turn in range(3):
        left = list(world.clients)
        for client in left:
            client.answers.clear()
        while left:
            client = left.pop(rng.randrange(len(left)))
            for number in range(rng.randint(0, 3)):
                client.put("early-%d-%d-%d" % (turn, client.rank, number), "x")
            client.put("turn-%d-%d" % (turn, client.rank), "value %d; of %d" % (turn, client.rank))
            client.put("last", str(turn))
            assert client.get("turn-%d-%d" % (turn, client.rank)) is None  # as with Slurm: not before the fence, not even its own
            client.answers.clear()
            assert client.fence() is None
            if rng.random() < 0.5:
                world.deliver()
            if left:
                assert not any(found.answers for found in world.clients)
        world.settle()
        for client in world.clients:
            assert [answer.get("rc") for answer in client.answers] == ["0"], client.rank
        for client in world.clients:
            assert [client.get("turn-%d-%d" % (turn, rank)) for rank in range(size)] == ["value %d; of %d" % (turn, rank) for rank in range(size)]
            assert client.get("last") == str(turn)
            assert client.get("nothing") is None
    assert not any(client.complaints for client in world.clients)


def test_many_pairs_come_in_pieces():
    world = World([[0], [1]])
    one, two = sorted(world.clients, key=lambda client: client.rank)
    big = "x" * 1000
    for number in range(3000):
        one.put("key%d" % number, big + str(number))
    one.fence()
    two.fence()
    sizes = [len(body) for frames in world.wires.values() for _header, body in frames]
    assert max(sizes) <= space.PIECE and len(sizes) == 4
    world.settle()
    assert [two.get("key%d" % number) for number in (0, 1500, 2999)] == [big + "0", big + "1500", big + "2999"]


def test_what_a_rank_of_version_1_is_told():
    world = World([[0, 1, 2], [3]])
    client = next(client for client in world.clients if client.rank == 3)
    assert client.say("get_maxes") == Command("maxes", {"rc": "0", "kvsname_max": "256", "keylen_max": "64", "vallen_max": "1024"})
    assert client.say("get_universe_size") == Command("universe_size", {"rc": "0", "size": "4"})
    assert client.say("get_appnum") == Command("appnum", {"rc": "0", "appnum": "-1"})
    assert client.say("get_my_kvsname") == Command("my_kvsname", {"rc": "0", "kvsname": "7.0"})
    assert client.get("PMI_process_mapping") == "(vector,(0,1,3),(1,1,1))"
    assert client.say("finalize") == Command("finalize_ack", {"rc": "0"})
    assert client.server.over


def test_what_a_rank_of_version_2_is_told():
    world = World([[0, 1, 2], [3]], versions=(2,))
    client = next(client for client in world.clients if client.rank == 3)
    wanted = {"rc": "0", "pmi-version": "2", "pmi-subversion": "0", "rank": "3", "size": "4", "appnum": "-1"}
    assert client.say("fullinit", pmijobid="7.0", pmirank="3").fields == dict(wanted, debugged="FALSE", pmiverbose="FALSE")
    assert client.say("job__getid") == Command("job-getid-response", {"rc": "0", "jobid": "7.0"})
    found = Command("info-getjobattr-response", {"rc": "0", "found": "TRUE", "value": "(vector,(0,1,3),(1,1,1))"})
    assert client.say("info__getjobattr", key="PMI_process_mapping") == found
    assert client.say("info__getjobattr", key="universeSize").get("value") == "4"
    assert client.say("info__getjobattr", key="else").fields == {"rc": "0", "found": "FALSE"}
    assert client.say("finalize") == Command("finalize-response", {"rc": "0"})


def test_a_mapping_that_is_long_has_room_or_is_left_out():
    """A client of version 1 is told how long values are; one of version 2 has a fixed room."""
    tasks = [[rank for rank in range(800) if (rank * rank + rank // 7) % 5 == node] for node in range(5)]
    tasks = [ranks for ranks in tasks if ranks]
    assert len(process_mapping(tasks)) > 1024
    first, second = World(tasks).clients[0], World(tasks, versions=(2,)).clients[0]
    assert int(first.say("get_maxes").get("vallen_max")) > len(first.get("PMI_process_mapping"))
    assert second.say("info__getjobattr", key="PMI_process_mapping").get("found") == "FALSE"


def test_attributes_of_a_node_stay_there_and_can_be_waited_for():
    world = World([[0, 1], [2]], versions=(2,))
    zero, one, two = sorted(world.clients, key=lambda client: client.rank)
    assert one.say("info__getnodeattr", key="shm", wait="TRUE") is None
    assert two.say("info__getnodeattr", key="shm", wait="FALSE").get("found") == "FALSE"
    zero.say("info__putnodeattr", key="shm", value="/dev/shm/a")
    assert one.answers[-1] == Command("info-getnodeattr-response", {"rc": "0", "found": "TRUE", "value": "/dev/shm/a"})
    assert two.say("info__getnodeattr", key="shm", wait="FALSE").get("found") == "FALSE"


@pytest.mark.parametrize("version", [1, 2])
def test_services_are_known_in_the_whole_step(version):
    world = World([[0], [1]], versions=(version,))
    one, two = world.clients
    words = {"publish": "name__publish", "lookup": "name__lookup", "unpublish": "name__unpublish"}
    done = {"info": "ok"} if version == 1 else {"rc": "0"}

    def ask(client, what, **fields):
        fields = {"service" if version == 1 else "name": "s", **fields}
        assert client.say(what + "_name" if version == 1 else words[what], **fields) is None
        world.settle()
        return client.answers[-1].fields

    assert ask(one, "publish", port="tag#0$x") == done
    found = ask(two, "lookup")
    assert found == {**done, "port": "tag#0$x"} or found == {**done, "value": "tag#0$x", "port": "tag#0$x"}
    assert ask(two, "unpublish") == done
    assert ask(one, "lookup") == ({"info": "fail"} if version == 1 else {"rc": "1"})


@pytest.mark.parametrize("version", [1, 2])
def test_an_abort_is_for_the_head(version):
    world = World([[0], [1]], versions=(version,))
    client = next(client for client in world.clients if client.rank == 1)
    assert client.say("abort", exitcode="5") is None
    world.settle()
    assert world.aborted == [1]


def test_spawning_is_refused_with_its_last_part():
    world = World([[0]])
    client = world.clients[0]
    part = "mcmd=spawn\nnprocs=1\nexecname=a\ntotspawns=2\nspawnssofar=%d\nargcnt=0\nendcmd\n"
    client.server.feed((part % 1).encode())
    assert client.answers == []
    client.server.feed((part % 2).encode())
    assert client.answers[-1].name == "spawn_result" and client.answers[-1].get("rc") != "0"
    assert "not offered" in client.complaints[0]


@pytest.mark.parametrize("version, name", [(1, "create_kvs_result"), (2, "create_kvs-response")])
def test_an_unknown_command_is_answered_and_the_rank_goes_on(version, name):
    client = World([[0]], versions=(version,)).clients[0]
    answer = client.say("create_kvs")
    assert (answer.name, answer.get("rc")) == (name, "1")
    client.say("create_kvs")
    assert client.complaints == ["the command 'create_kvs' is not offered"]  # once, however often it asks
    client.put("a", "b")


@pytest.mark.parametrize("said", [b"cmd=get_maxes\n", b"cmd=init pmi_version=3 pmi_subversion=0\n", b"GET / HTTP/1.1\n"])
def test_who_does_not_begin_with_a_known_init_is_left(said):
    answers, complaints = [], []
    rank = Rank(0, space.NodeSpace("7.0", 1, "(vector,(0,1,1))", [0], None), answers.append, complaints.append)
    with pytest.raises(PmiError):
        rank.feed(said)
    assert len(complaints) == 1
    assert answers in ([], [b"cmd=response_to_init rc=-1 pmi_version=3 pmi_subversion=0\n"])
