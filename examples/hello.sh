#!/bin/bash
#SBATCH --job-name=hello
#SBATCH --output=hello-%j.out
#SBATCH --time=5
# The smallest job: one task, one file of output.
echo "hello from job $SLURM_JOB_ID on $(hostname), submitted from $SLURM_SUBMIT_DIR"
srun echo "and from a step of it"
