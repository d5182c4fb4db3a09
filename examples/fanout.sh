#!/bin/bash
#SBATCH --job-name=fanout
#SBATCH --nodes=2
#SBATCH --ntasks=6
#SBATCH --output=fanout-%j.out
#SBATCH --time=5
# An MPI-style fan-out without MPI: one program on every rank, a scatter by rank, a gather by file; then steps side by side.
srun -l bash -c 'echo "rank $SLURM_PROCID local $SLURM_LOCALID node $SLURM_NODEID" | tee "fanout-$SLURM_JOB_ID.$SLURM_PROCID"'
cat "fanout-$SLURM_JOB_ID".? | sort -n -k2 | tail -n 1
for part in a b; do
    srun --exact -N1 -n1 bash -c "sleep 0.2; echo side by side: $part" &
done
wait
