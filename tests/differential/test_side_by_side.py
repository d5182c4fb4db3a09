"""The same shell line on a real Slurm and on ours: output, errors and exit code must agree once ids and times are folded."""

from __future__ import annotations

import pytest

# The real one does not always agree with itself: it may be asked again. What differs by more than chance differs each time.
TRIES = 3
CHANCE = "salloc: Job allocation N has been revoked."  # the real one's last word after a relinquished allocation, in about four of ten

LINES = [
    # submitting
    "sbatch --wrap true",
    "sbatch --parsable --wrap true",
    "sbatch -W --wrap 'exit 3'",
    "sbatch -W --array=1-3 --wrap 'exit $SLURM_ARRAY_TASK_ID'",
    "sbatch nosuch.sh",
    "sbatch -t abc --wrap true",
    "sbatch -p nosuch --wrap true",
    "sbatch --bogus --wrap true",
    "sbatch --n --wrap true",
    "sbatch -N9 --wrap true",
    "sbatch --gres=bogus:1 --wrap true",
    "sbatch -d afterok:abc --wrap true",
    "sbatch --array=1-x --wrap true",
    "sbatch --mem=1X --wrap true",
    "sbatch --test-only -N4 --exclusive --wrap true",
    "printf '#!/bin/bash\\n#SBATCH -J named -n2\\nenv | grep ^SLURM_ | sort\\n' > e.sh; sbatch -W -o e.out e.sh; cat e.out",
    "printf '#!/bin/bash\\n#SBATCH -J \"a b\" --mem=20\\necho $SLURM_JOB_NAME $SLURM_MEM_PER_NODE\\n' > q.sh; sbatch -W -o q.out q.sh; cat q.out",
    "sbatch -W -N2 -n5 -o m.out --wrap 'env | grep -E \"NODELIST|TASKS|CPUS\" | sort; srun -l hostname | sort'; cat m.out",
    "sbatch -W --export=NONE -o x.out --wrap 'echo [$FOO] [$HOME] $SLURM_EXPORT_ENV'; cat x.out",
    "FOO=1 sbatch -W --export=FOO,BAR=x -o x.out --wrap 'echo [$FOO] [$BAR] $SLURM_EXPORT_ENV'; cat x.out",
    "sbatch -W --gres=gpu:2 -o g.out --wrap 'env | grep -E \"GPU|CUDA\" | sort'; cat g.out",
    "sbatch -o 'p-%j-%x-%u-%N-%4t.txt' -W -J nm --wrap true; ls p-*",
    # steps
    "srun hostname",
    "srun -n3 bash -c 'exit $SLURM_PROCID'",
    "srun bash -c 'kill -9 $$'",
    "srun nosuchcommand",
    "srun -n4 -l echo hi",
    "srun -N2 -n5 -m cyclic -l hostname",
    "srun",
    "srun -n2 -o 'so-%t.txt' echo x; cat so-*.txt",
    "echo data | srun -n2 -l cat",
    "srun --mpi=bogus true",
    "srun --jobid=999999 true",
    "salloc -n2 bash -c 'srun -l hostname; exit 4'",
    "salloc nosuchcommand",
    # asking and changing
    "squeue -h",
    "j=$(sbatch --parsable -H -J held -t 5 --wrap true); squeue; squeue -h -o '%i %j %t %r %l %D %C %m %P %u' -j $j; scancel $j",
    "j=$(sbatch --parsable -H --array=1-5%2 --wrap true); squeue -h -o '%i %F %K %t' -j $j; squeue -h -r -o '%i' -j $j; scancel ${j}_[1-2]; squeue -h -o %i -j $j; scancel $j",
    "j=$(sbatch --parsable -H --wrap true); scontrol update jobid=$j timelimit=10 comment=hey; squeue -h -o '%l' -j $j; scontrol release $j; scancel $j",
    "squeue -j 999999",
    "squeue -u nosuchuser",
    "squeue -t bogus",
    "scancel 999999",
    "scontrol show job 999999",
    "scontrol update jobid=999999 timelimit=5",
    "sinfo",
    "sinfo -N",
    "sinfo -l",
    "sinfo -o '%P %a %l %D %t %N %c %m %G %f'",
    "scontrol show partition gpu | grep -v TRES",  # gres are counted there only with an accounting database
    "scontrol show hostnames 'node[1-3,7]'",
    "scontrol show hostlist node1,node2,node5",
    "scontrol ping | sed 's/ at .* is/ at HOST is/'",
    "scontrol bogus",
]


def always(errors: list[str]) -> list[str]:
    return [line for line in errors if line != CHANCE]


def beyond(one: tuple, other: tuple) -> list[str]:
    """Lines and exit code of one side that the other does not have."""
    return [line for line in (*one[0], *one[1], "exit %d" % one[2]) if line not in (*other[0], *other[1], "exit %d" % other[2])]


@pytest.mark.parametrize("line", LINES)
def test_agrees(real, ours, line: str) -> None:
    """What the real Slurm prints and returns, ours prints and returns."""
    for _ in range(TRIES):
        real.clear()
        ours.clear()
        mine, theirs = ours.sh(line), real.sh(line)
        assert CHANCE not in mine[1]
        if (mine[0], mine[1], mine[2]) == (theirs[0], always(theirs[1]), theirs[2]):
            return
    raise AssertionError("ours alone: %s; the real one's alone: %s" % (beyond(mine, theirs), beyond(theirs, mine)))
