"""A rank of an MPI program without MPI: both versions of PMI in a few lines, independent of the agent's own code. Run as a task of a step.

pmi_client.py VERSION ring [SECONDS]     tell everybody who I am, and check what everybody said, three times with a pause between; prints
                                         "RANK/SIZE on NODE of MAPPING"
pmi_client.py 1 name                     print what the space is called
pmi_client.py 1 flood COUNT              ask so many times without reading an answer meanwhile, then read them all; prints how many were right
pmi_client.py VERSION abort RANK CODE    that rank aborts while the others wait in a fence
pmi_client.py VERSION gone RANK CODE     that rank exits without a word; the others do not wait for it
"""

import os
import socket
import sys
import threading
import time


class Pmi:
    def __init__(self, version):
        self.version = version
        self.rank, self.size = int(os.environ["PMI_RANK"]), int(os.environ["PMI_SIZE"])
        self.sock = socket.socket(fileno=int(os.environ["PMI_FD"]))
        self.file = self.sock.makefile("rb")
        self.sock.sendall(b"cmd=init pmi_version=%d pmi_subversion=%d\n" % (version, version % 2))
        assert b"cmd=response_to_init rc=0" in self.file.readline()
        if version == 2:
            assert int(self.ask("fullinit", pmijobid=os.environ["PMI_JOBID"], pmirank=self.rank)["size"]) == self.size

    def send(self, cmd, **fields):
        separator = " " if self.version == 1 else ";"
        text = separator.join("%s=%s" % item for item in {"cmd": cmd, **fields}.items()) + ("\n" if self.version == 1 else ";")
        self.sock.sendall((text if self.version == 1 else "%6d%s" % (len(text), text)).encode())

    def ask(self, cmd, **fields):
        self.send(cmd, **fields)
        if self.version == 1:
            text = self.file.readline().decode().rstrip("\n")
        else:
            text = self.file.read(int(self.file.read(6))).decode()
        return dict(item.split("=", 1) for item in text.split(" " if self.version == 1 else ";") if item)

    def put(self, key, value):
        assert self.ask("put" if self.version == 1 else "kvs-put", kvsname="x", key=key, value=value)["rc"] == "0"

    def get(self, key):
        return self.ask("get" if self.version == 1 else "kvs-get", kvsname="x", key=key).get("value")

    def fence(self):
        assert self.ask("barrier_in" if self.version == 1 else "kvs-fence")["rc"] == "0"

    def mapping(self):
        if self.version == 1:
            return self.get("PMI_process_mapping")
        return self.ask("info-getjobattr", key="PMI_process_mapping")["value"]

    def finalize(self):
        assert self.ask("finalize")["rc"] == "0"


def main(version, what, rank=None, code=None):
    if what == "gone" and os.environ["PMI_RANK"] == rank:
        sys.exit(int(code))
    pmi = Pmi(int(version))
    if what == "abort":
        if pmi.rank == int(rank):
            pmi.send("abort", exitcode=code)
            time.sleep(60)
        pmi.fence()
    elif what == "name":
        print(pmi.ask("get_my_kvsname")["kvsname"])
    elif what == "flood":
        asking = threading.Thread(target=lambda: [pmi.send("get", kvsname="x", key="PMI_process_mapping") for _ in range(int(rank))])
        asking.start()
        time.sleep(1)  # the answers fill whatever there is to be filled
        print([pmi.file.readline() for _ in range(int(rank))].count(b"cmd=get_result rc=0 value=(vector,(0,1,1))\n"))
        asking.join()
    elif what == "ring":
        for turn in range(3):
            time.sleep(float(rank or 0))
            pmi.put("%d.%d" % (turn, pmi.rank), "%s.%d" % (os.environ["SLURMD_NODENAME"], turn * pmi.rank))
            pmi.fence()
            for other in range(pmi.size):
                assert pmi.get("%d.%d" % (turn, other)).endswith(".%d" % (turn * other)), (turn, other)
        print("%d/%d on %s of %s" % (pmi.rank, pmi.size, pmi.get("0.%d" % pmi.rank).split(".")[0], pmi.mapping()))
    pmi.finalize()


if __name__ == "__main__":
    main(*sys.argv[1:])
