"""Pi by an integral that the ranks share, for examples/mpi.sh."""

import os

from mpi4py import MPI

STEPS = 1_000_000
world = MPI.COMM_WORLD
part = sum(4 / (1 + ((step + 0.5) / STEPS) ** 2) for step in range(world.rank, STEPS, world.size)) / STEPS
pi = world.allreduce(part)
near = world.Split_type(MPI.COMM_TYPE_SHARED).size
said = world.gather("rank %d of %d on %s, with %d on its node" % (world.rank, world.size, os.environ["SLURMD_NODENAME"], near))
if world.rank == 0:
    print(*said, "pi is about %.6f" % pi, sep="\n")
