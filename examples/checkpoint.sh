#!/bin/bash
#SBATCH --job-name=checkpoint
#SBATCH --output=checkpoint-%j.out
#SBATCH --open-mode=append
#SBATCH --time=2
#SBATCH --signal=B:USR1@100
#SBATCH --requeue
# Works through 30 items; told by SIGUSR1 that its time is nearly over, it has its state on disk and asks to run again.
state=checkpoint-$SLURM_JOB_ID.state
done_already=$(cat "$state" 2>/dev/null || echo 0)
echo "start ${SLURM_RESTART_COUNT:-0}: $done_already done already"
trap 'echo "told at item $item: again, please"; scontrol requeue "$SLURM_JOB_ID"; exit 0' USR1
for ((item = done_already + 1; item <= ${ITEMS:-30}; item++)); do
    sleep 1 &
    wait $!
    echo "$item" > "$state"
done
echo "all $(cat "$state") done"
