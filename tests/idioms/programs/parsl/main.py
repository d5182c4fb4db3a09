"""parsl: blocks of two nodes, filled with workers by srun."""

import os
import sys

import parsl
from parsl import python_app
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

provider = SlurmProvider(
    partition="debug", account="lab", qos="high", nodes_per_block=2, init_blocks=1, min_blocks=1, max_blocks=1, cores_per_node=2, mem_per_node=1, exclusive=False,
    walltime="00:05:00", scheduler_options="#SBATCH --comment=parsl", worker_init="export PATH=%s:$PATH" % os.path.dirname(sys.executable), launcher=SrunLauncher(),
)
parsl.load(Config(executors=[HighThroughputExecutor(label="blocks", max_workers_per_node=2, address="127.0.0.1", provider=provider)]))


@python_app
def square(x):
    import os
    import time

    time.sleep(0.1)
    return x * x, os.environ["SLURMD_NODENAME"]


answers = [future.result() for future in [square(x) for x in range(8)]]
parsl.dfk().cleanup()
assert [answer for answer, _ in answers] == [x * x for x in range(8)], answers
assert {node for _, node in answers} <= {"node1", "node2"}, answers
