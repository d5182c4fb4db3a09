#!/bin/bash
#SBATCH --job-name=rendezvous
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --output=rendezvous-%j.out
#SBATCH --time=5
# How torchrun and its kin find each other: the first node is the meeting point, every rank connects to it. Plain sockets.
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
srun python3 rendezvous.py
