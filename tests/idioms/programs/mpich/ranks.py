"""An MPI program: what each rank is, a sum over all, and who shares its node."""

import os

from mpi4py import MPI

world = MPI.COMM_WORLD
total = world.allreduce(world.rank + 1)
assert world.alltoall([world.rank] * world.size) == list(range(world.size))
near = world.Split_type(MPI.COMM_TYPE_SHARED)
mates = near.allgather(os.environ["SLURMD_NODENAME"])
assert set(mates) == {os.environ["SLURMD_NODENAME"]}, mates  # ranks of another node do not count as near
print("%d/%d %s sum %d near %d" % (world.rank, world.size, os.environ["SLURMD_NODENAME"], total, near.size), flush=True)
