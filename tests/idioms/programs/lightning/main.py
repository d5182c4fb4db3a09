"""Lightning: its Slurm environment finds ranks, nodes and the meeting point; a training on two nodes of two processes."""

import os
import pathlib
import re
import subprocess
import sys

if "SLURM_PROCID" not in os.environ:
    submit = ["sbatch", "-W", "--nodes=2", "--ntasks-per-node=2", "-t", "5", "-J", "light", "-o", "out", "--mem-per-cpu=1000", "--signal=SIGUSR1@90"]
    subprocess.run([*submit, "--wrap", "GLOO_SOCKET_IFNAME=lo srun %s main.py" % sys.executable], check=True)
    said = pathlib.Path("out").read_text()
    assert len(re.findall(r"^rank \d of 4", said, re.M)) == 4, said
    raise SystemExit(0)

import lightning
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment

found = SLURMEnvironment()
assert SLURMEnvironment.detect() and found.creates_processes_externally
assert (found.main_address, found.world_size(), found.job_name()) == ("node1", 4, "light")
assert (found.global_rank(), found.local_rank(), found.node_rank()) == tuple(int(os.environ["SLURM_" + name]) for name in ("PROCID", "LOCALID", "NODEID"))


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch, index):
        return self.layer(batch).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


trainer = lightning.Trainer(accelerator="cpu", devices=2, num_nodes=2, strategy="ddp", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
trainer.fit(Model(), torch.utils.data.DataLoader(torch.randn(32, 4), batch_size=8))
sys.stdout.write("rank %d of %d\n" % (trainer.global_rank, trainer.world_size))
