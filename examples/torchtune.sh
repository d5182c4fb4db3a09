#!/bin/bash
#SBATCH --job-name=torchtune
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --output=torchtune-%j.out
#SBATCH --time=30
# The multi-node recipe of torchtune: one torchrun a node, meeting at the head node's address. Real use adds
# `#SBATCH --gpus-per-task=8` and a recipe with its config as RECIPE, e.g. RECIPE="full_finetune_distributed --config llama3_3/70B_full_multinode".
# Without RECIPE a small data-parallel training on the CPU runs (torch_train.py). Needs torch.
export LOGLEVEL=WARNING
export GLOO_SOCKET_IFNAME=${GLOO_SOCKET_IFNAME:-lo}
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
nodes=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))
head_node=${nodes[0]}
head_ip=$(srun --nodes=1 --ntasks=1 -w "$head_node" hostname --ip-address)
echo "head node $head_node at $head_ip"
srun torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc_per_node "${SLURM_GPUS_ON_NODE:-2}" \
    --rdzv_id "$SLURM_JOB_ID" --rdzv_backend c10d --rdzv_endpoint "$head_ip:$((21000 + SLURM_JOB_ID % 20000))" \
    ${RECIPE:-torch_train.py}
