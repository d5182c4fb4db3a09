#!/bin/bash
#SBATCH --job-name=ray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --output=ray-%j.out
#SBATCH --time=20
# A Ray cluster inside an allocation, in the way that start scripts for it are commonly written: the head as one step on the
# first node, a worker as one step on each other node, the driver in the script. Needs `pip install ray`.
nodes=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))
head_node=${nodes[0]}
head_ip=$(srun --nodes=1 --ntasks=1 -w "$head_node" hostname --ip-address)
port=$((22000 + SLURM_JOB_ID % 20000))
export ip_head=$head_ip:$port
echo "head $head_node at $ip_head"
srun --nodes=1 --ntasks=1 -w "$head_node" \
    ray start --head --node-ip-address="$head_ip" --port=$port --num-cpus "$SLURM_CPUS_PER_TASK" --include-dashboard=false --block &
sleep "${RAY_WAIT:-10}"
for ((i = 1; i < SLURM_JOB_NUM_NODES; i++)); do
    node=${nodes[$i]}
    node_ip=$(srun --overlap --nodes=1 --ntasks=1 -w "$node" hostname --ip-address)
    srun --nodes=1 --ntasks=1 -w "$node" \
        ray start --address "$ip_head" --node-ip-address="$node_ip" --num-cpus "$SLURM_CPUS_PER_TASK" --block &
    sleep "${RAY_WAIT:-5}"
done
python3 -u ray_driver.py
