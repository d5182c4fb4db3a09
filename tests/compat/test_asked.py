"""What squeue says of waiting jobs' requests, against Slurm 22.05.8: held jobs of sbatch with the options beside each row."""

from __future__ import annotations

import pytest

from sbroker.model import Gres, Job
from slurm_compat.columns.context import Context
from slurm_compat.columns.jobs import NAMES
from tests.compat.cluster import CONFIG, ENV, NOW, busy, job

GPU2 = (Gres(name="gpu", count=2),)
TYPED = (Gres(name="gpu", type="a100", count=2),)
# JobSpec, and what differs from a job without options
ROWS = {
    "": ({}, {}),
    "-n4": ({"ntasks": 4}, {"maxcpus": "4", "numcpus": "4", "numtasks": "4", "tres-alloc": "cpu=4,mem=4000M,node=1,billing=4"}),
    "-N2": ({"nodes_min": 2, "nodes_max": 2}, {"maxcpus": "2", "maxnodes": "2", "numcpus": "2", "numnodes": "2", "numtasks": "2",
            "tres-alloc": "cpu=2,mem=2000M,node=2,billing=2"}),
    "-N2-4": ({"nodes_min": 2, "nodes_max": 4}, {"maxnodes": "4", "numnodes": "2", "numtasks": "2",
              "tres-alloc": "cpu=1,mem=1000M,node=2,billing=1"}),
    "-n30": ({"ntasks": 30}, {"maxcpus": "30", "maxnodes": "4", "numcpus": "30", "numnodes": "4", "numtasks": "30",
             "tres-alloc": "cpu=30,mem=30000M,node=1,billing=30"}),
    "-n4 -c2": ({"ntasks": 4, "cpus_per_task": 2}, {"cpus-per-task": "2", "maxcpus": "8", "mincpus": "2", "numcpus": "8", "numtasks": "4",
                "tres-alloc": "cpu=8,mem=8000M,node=1,billing=8"}),
    "-N2 --ntasks-per-node=3 -c2": ({"nodes_min": 2, "nodes_max": 2, "ntasks_per_node": 3, "cpus_per_task": 2}, {"cpus-per-task": "2",
                "maxcpus": "12", "maxnodes": "2", "mincpus": "6", "ntpernode": "3", "numcpus": "12", "numnodes": "2", "numtasks": "6",
                "tres-alloc": "cpu=12,mem=12000M,node=2,billing=12"}),
    "-n4 --ntasks-per-node=2": ({"ntasks": 4, "ntasks_per_node": 2}, {"maxcpus": "4", "maxnodes": "2", "mincpus": "2", "ntpernode": "2",
                "numcpus": "4", "numnodes": "2", "numtasks": "4", "tres-alloc": "cpu=4,mem=4000M,node=1,billing=4"}),
    "-O -n16": ({"ntasks": 16, "overcommit": True}, {"maxnodes": "2", "numnodes": "2", "numtasks": "16"}),
    "--exclusive": ({"exclusive": "node"}, {"oversubscribe": "NO"}),
    "--exclusive=user": ({"exclusive": "user"}, {"oversubscribe": "USER"}),
    "-s": ({"oversubscribe": True}, {"oversubscribe": "YES"}),
    "--mem=2G": ({"mem_per_node": 2048}, {"minmemory": "2G", "tres-alloc": "cpu=1,mem=2G,node=1,billing=1"}),
    "--mem=2500": ({"mem_per_node": 2500}, {"minmemory": "2500M", "tres-alloc": "cpu=1,mem=2500M,node=1,billing=1"}),
    "--mem=0": ({"mem_per_node": 0}, {"minmemory": "0", "tres-alloc": "cpu=1,mem=16000M,node=1,billing=1"}),
    "--mem-per-cpu=1500 -n4": ({"mem_per_cpu": 1500, "ntasks": 4}, {"maxcpus": "4", "minmemory": "1500M", "numcpus": "4", "numtasks": "4",
                "tres-alloc": "cpu=4,mem=6000M,node=1,billing=4"}),
    "--mem-per-gpu=2G --gpus=2": ({"mem_per_gpu": 2048, "gpus": GPU2}, {"mem-per-tres": "gres:gpu:2048", "tres-per-job": "gres:gpu:2",
                "tres-alloc": "cpu=1,mem=4G,node=1,billing=1,gres/gpu=2"}),
    "--gpus=a100:2": ({"gpus": TYPED}, {"tres-per-job": "gres:gpu:a100:2", "tres-alloc": "cpu=1,mem=1000M,node=1,billing=1,gres/gpu=2"}),
    "--gpus-per-node=2 -N2": ({"gpus_per_node": GPU2, "nodes_min": 2, "nodes_max": 2}, {"maxcpus": "2", "maxnodes": "2", "numcpus": "2",
                "numnodes": "2", "numtasks": "2", "tres-per-node": "gres:gpu:2", "tres-alloc": "cpu=2,mem=2000M,node=2,billing=2,gres/gpu=4"}),
    "--gpus-per-task=2 -n2": ({"gpus_per_task": GPU2, "ntasks": 2}, {"maxcpus": "2", "numcpus": "2", "numtasks": "2",
                "tres-per-task": "gres:gpu:2", "tres-alloc": "cpu=2,mem=2000M,node=1,billing=2,gres/gpu=4"}),
    "--gres=gpu:2": ({"gres": GPU2}, {"tres-per-node": "gres:gpu:2", "tres-alloc": "cpu=1,mem=1000M,node=1,billing=1,gres/gpu=2"}),
    "--cpus-per-gpu=2 --gpus=2": ({"cpus_per_gpu": 2, "gpus": GPU2}, {"cpus-per-tres": "gres:gpu:2", "tres-per-job": "gres:gpu:2",
                "tres-alloc": "cpu=1,mem=1000M,node=1,billing=1,gres/gpu=2"}),
    "-C gpu&a100": ({"constraint": "gpu&a100"}, {"feature": "gpu&a100"}),
    "-w node1,node2": ({"nodelist": ("node1", "node2")}, {"maxcpus": "2", "maxnodes": "2", "numcpus": "2", "numnodes": "2", "numtasks": "2",
                "reqnodes": "node[1-2]", "tres-alloc": "cpu=2,mem=2000M,node=2,billing=2"}),
    "--tmp=2G": ({"tmp": 2048}, {"mintmpdisk": "2G"}),
    "--mincpus=4": ({"mincpus": 4}, {"mincpus": "4"}),
    "--cores-per-socket=2": ({"cores_per_socket": 2}, {"cores": "2", "sct": "*:2:*"}),
    "--hint=nomultithread": ({"hint": "nomultithread"}, {"threads": "1", "sct": "*:*:1"}),
    "--ntasks-per-socket=2": ({"ntasks_per_socket": 2}, {"ntpersocket": "2"}),
    "--no-requeue": ({"requeue": False}, {"requeue": "0"}),
    "--switches=2@10:00": ({"switches": "2@10:00"}, {"reqswitch": "2", "wait4switch": "5:00"}),
    "--profile=all": ({"profile": "all"}, {"profile": "Energy,Lustre,Network,Task"}),
    "-e err.txt -o out.txt -i in.txt": ({"stderr": "err.txt", "stdout": "out.txt", "stdin": "in.txt"},
                {"stderr": "/home/alice/w/err.txt", "stdout": "/home/alice/w/out.txt", "stdin": "/home/alice/w/in.txt"}),
    "--delay-boot=10": ({"delay_boot": 600}, {"delayboot": "10:00"}),
}  # fmt: skip
FIELDS = sorted({name for _, changed in ROWS.values() for name in changed})


def printed(waiting: Job) -> dict[str, str]:
    context = Context(busy(), CONFIG, NOW, ENV)
    return {name: NAMES[name].text(waiting, context) for name in FIELDS}


@pytest.mark.parametrize(("spec", "changed"), ROWS.values(), ids=ROWS)
def test_asked(spec, changed):
    assert printed(job(950, spec=spec)) == printed(job(950)) | changed


SHOWN = [  # JobSpec, time limit in seconds, and the columns %l|%D|%C of a held job
    ({"nodes_min": 0, "nodes_max": 0}, None, "UNLIMITED|0|0"),
    ({"nodes_min": 0, "nodes_max": 0, "ntasks": 3}, None, "UNLIMITED|1|3"),
    ({"cpus_per_task": 9}, None, "UNLIMITED|1|9"),
    ({"ntasks": 2, "cpus_per_task": 9}, None, "UNLIMITED|2|18"),
    ({"ntasks": 3, "cpus_per_task": 5}, None, "UNLIMITED|3|15"),
    ({"ntasks": 5, "cpus_per_task": 3}, None, "UNLIMITED|3|15"),
    ({"ntasks": 99999999}, None, "UNLIMITED|1250000|99999999"),
    ({}, 365 * 86400, "365-00:00:00|1|1"),
    ({}, 365 * 86400 + 60, "INVALID|1|1"),
]


@pytest.mark.parametrize(("spec", "limit", "row"), SHOWN)
def test_odd_requests(spec, limit, row):
    waiting = job(950, spec=spec) if limit is None else job(950, spec=spec, time_limit=limit)
    context = Context(busy(), CONFIG, NOW, ENV)
    assert "|".join(NAMES[name].text(waiting, context) for name in ("timelimit", "numnodes", "numcpus")) == row
