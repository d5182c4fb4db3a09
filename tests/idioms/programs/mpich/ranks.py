"""An MPI program: what each rank is, a sum over all, and who shares its node."""

import os

from mpi4py import MPI

# Intel's mpiexec gives all ranks the SLURMD_NODENAME of the batch script, and says by a name of its own where they are
node = os.environ.get("HYDRA_BSTRAP_LOCALHOST") or os.environ["SLURMD_NODENAME"]
world = MPI.COMM_WORLD
total = world.allreduce(world.rank + 1)
assert world.alltoall([world.rank] * world.size) == list(range(world.size))
near = world.Split_type(MPI.COMM_TYPE_SHARED)
assert set(near.allgather(node)) == {node}  # ranks of another node do not count as near
print("%d/%d %s sum %d near %d" % (world.rank, world.size, node, total, near.size), flush=True)
