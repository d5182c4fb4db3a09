"""An all-reduce over plain sockets: rank 0 listens at MASTER_ADDR:MASTER_PORT, sums what every rank sends, and tells them the sum."""

import os
import socket
import time

rank, size = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))


def root() -> int:
    with socket.create_server(address) as server:
        peers = [server.accept()[0] for _ in range(size - 1)]
    total = rank + sum(int(peer.recv(64)) for peer in peers)
    for peer in peers:
        peer.sendall(b"%d" % total)
        peer.close()
    return total


def other() -> int:
    for _ in range(200):
        try:
            peer = socket.create_connection(address)
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    else:
        raise SystemExit("rank %d: nobody listens at %s:%d" % (rank, *address))
    with peer:
        peer.sendall(b"%d" % rank)
        return int(peer.recv(64))


total = root() if rank == 0 else other()
print("rank %d of %d on %s: sum %d" % (rank, size, os.environ["SLURMD_NODENAME"], total), flush=True)
if total != size * (size - 1) // 2:
    raise SystemExit("wrong sum")
