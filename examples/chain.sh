#!/bin/bash
# A dependency chain: prepare → train (an array) → report; run it, it submits the three and prints the last job's id.
set -e
prepare=$(sbatch --parsable -J prepare -o chain-prepare.out --wrap 'seq 1 4 > chain-data.txt; echo prepared')
train=$(sbatch --parsable -J train -o chain-train-%a.out --array=1-4 --dependency=afterok:"$prepare" \
    --wrap 'x=$(sed -n "${SLURM_ARRAY_TASK_ID}p" chain-data.txt); echo $((x * 10)) > chain-part-$SLURM_ARRAY_TASK_ID.txt')
sbatch --parsable -J report -o chain-report.out --dependency=afterok:"$train" \
    --wrap 'cat chain-part-*.txt | paste -sd+ | bc 2>/dev/null || cat chain-part-*.txt | paste -sd" "'
