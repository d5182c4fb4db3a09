"""Agents on several virtual nodes of this machine and one run over them: what the tests of steps need."""

import os
import subprocess
import time

from agentlab import PATIENCE, ROOT, Lab


class Cluster:
    """One Lab a node; the first is the head of the runs."""

    bin = ROOT / "bin"

    def __init__(self, folder, names=("node1",), cpus=8, mem=16000, gres=None, settings=None):
        self.folder, self.labs, self.cpus, self.mem, self.gres = folder, [], cpus, mem, gres or {}
        self.begun = []
        for name in names:
            place = folder / name / "agent"
            place.mkdir(parents=True)
            lab = Lab(place, name, front="slurm_compat.node", **(settings or {}))
            lab.start()
            self.labs.append(lab)
        self.head = self.labs[0]

    def stop(self):
        """End what runs (a supervisor outlives its agent), then the agents."""
        for job in self.begun:
            for lab in self.labs:
                lab.order("end", job, why="cancel", uid=0)
        for job in self.begun:
            for lab in self.labs:
                lab.wait("empty", job)
        for lab in self.labs:
            lab.stop()

    def nodes(self, cpus=None):
        cpus = cpus or [self.cpus] * len(self.labs)
        return [
            {"node": lab.node, "address": "127.0.0.1", "cpus": count, "mem": self.mem, "gres": self.gres, "endpoint": f"unix:{lab.folder}"}
            for lab, count in zip(self.labs, cpus, strict=True)
        ]

    def begin(self, script, job=1, cpus=None, environ=b"", **changes):
        """Prepare and start a run over all nodes; returns when it has started."""
        nodes = self.nodes(cpus)
        spec = dict({"stdout": str(self.folder / "%j.out"), "work_dir": str(self.folder)}, **changes.pop("spec", {}))
        for lab in self.labs:
            lab.prepare(script, job, environ=environ, head=self.head.node, nodes=nodes, bin=str(ROOT / "bin"), spec=spec, **changes)
        self.begun.append(job)
        for lab in self.labs:
            lab.wait("held", job)
        self.head.order("start", job)
        self.head.wait("started", job)

    def end(self, job=1):
        ended = self.head.wait("ended", job)["data"]
        for lab in self.labs[1:]:  # as the broker does when the head has ended
            lab.order("end", job, why="exit", uid=None)
        for lab in self.labs:
            lab.wait("empty", job)
        return ended

    def output(self, job=1):
        return (self.folder / f"{job}.out").read_text(errors="replace")

    def run(self, script, job=1, **more):
        """Run a batch script to its end; what it wrote."""
        self.begin(script, job, **more)
        self.end(job)
        return self.output(job)

    def socket(self, job=1):
        return self.head.folder / "runs" / f"{job}.0" / "srun.sock"

    def srun(self, *argv, job=1, env=None, name="srun", **kwargs):
        """A command outside the script, in the run `job` (an allocation); subprocess.Popen."""
        environ = dict(os.environ, SBROKER_SOCKET=str(self.socket(job)), SLURM_JOB_ID=str(job), **(env or {}))
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(
            [str(ROOT / "bin" / name), *argv], env=environ, cwd=str(self.folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs
        )

    def ask(self, *argv, job=1, **kwargs):
        """(stdout, stderr, exit code) of a command in an allocation; reports are taken meanwhile."""
        data = kwargs.pop("input", None)
        if data is not None:
            kwargs["stdin"] = subprocess.PIPE
        process = self.srun(*argv, job=job, text=True, **kwargs)
        out, err = process.communicate(data, timeout=PATIENCE)
        return out, err, process.returncode

    def allocate(self, job=1, **more):
        self.begin("", job, kind="alloc", **more)
        deadline = time.monotonic() + PATIENCE
        while not self.socket(job).exists():
            assert time.monotonic() < deadline, "no socket"
            time.sleep(0.01)
