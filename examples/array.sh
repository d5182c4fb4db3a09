#!/bin/bash
#SBATCH --job-name=array
#SBATCH --array=1-8%4
#SBATCH --output=array-%A_%a.out
#SBATCH --time=5
# Eight tasks, four at a time; each writes the square of its index.
echo "$SLURM_ARRAY_TASK_ID $((SLURM_ARRAY_TASK_ID * SLURM_ARRAY_TASK_ID))"
