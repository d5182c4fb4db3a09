"""Machines made on demand, with real processes on fake clouds: bought, waited for, lost, replaced, and gone."""

from __future__ import annotations

import json
import time

import pytest
from system import System

CONFIG = """
cluster: sky
kill_wait: 1
partitions:
  - {name: cloud, default: true, sites: [east, west], default_time: 10, max_time: 60, suspend_time: 2}
sites:
  east: {provider: fake, max_nodes: 4, boot: 1, %s
         shapes: [{name: small, cpus: 4, memory: 8G, price: 0.2}, {name: gpu, cpus: 8, memory: 32G, gres: "gpu:a100:4", price: 3.0}]}
  west: {provider: fake, max_nodes: 4, boot: 1, shapes: [{name: small, cpus: 4, memory: 8G, price: 0.3}]}
"""


@pytest.fixture
def sky(tmp_path, request):
    system = System(tmp_path, CONFIG % getattr(request, "param", ""))
    yield system
    system.close()


def gone(system: System) -> None:
    """No machine is left, and no node of one."""
    system.until("sbroker machines", "No machines.")
    system.until("sinfo -h -N -o %N", "")


def test_a_job_gets_a_machine_and_the_machine_goes(sky):
    assert sky.ok("sinfo -h -N -o %N") == ""
    assert "east-small-1" in sky.sh("sbatch --test-only --wrap true").stderr
    job = sky.ok("sbatch --parsable -o out --wrap 'hostname; echo $SLURM_JOB_NODELIST $SLURM_CPUS_ON_NODE'").strip()
    assert sky.ok("squeue -h -o '%t %N' -j " + job) == "CF east-small-1\n"
    assert sky.ok("sinfo -h -o '%t %N'") == "mix# east-small-1\n"
    sky.drain()
    assert (sky.work / "out").read_text().splitlines()[1] == "east-small-1 1"
    gone(sky)
    assert sky.ok("sacct -nXP -o state,nodelist -j " + job) == "COMPLETED|east-small-1\n"


def test_an_interactive_job_waits_for_its_machine(sky):
    assert sky.sh("srun --gres=gpu:a100:2 bash -c 'echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES'").stdout == "east-gpu-1 0,1\n"


def test_an_array_is_one_order(sky):
    job = sky.ok("sbatch --parsable -c4 --array=1-4 -o /dev/null --wrap 'sleep 1'").strip()
    groups = {machine["token"] for machine in json.loads(sky.ok("sbroker machines --json"))["east"]["machines"]}
    sky.until("squeue -h -t CF -o %i", "")
    groups |= {machine["token"] for machine in json.loads(sky.ok("sbroker machines --json"))["east"]["machines"]}
    sky.drain()
    assert len(groups) == 1
    assert sky.ok("sacct -nXP -o state -j " + job) == "COMPLETED\n" * 4


def test_what_no_site_has_is_refused_with_the_reason(sky):
    done = sky.sh("sbatch --gres=gpu:a100:5 --wrap true")
    assert done.returncode == 1
    assert "no machine can be had" in done.stderr
    assert sky.ok("sinfo -h -N -o %N") == ""


@pytest.mark.parametrize("sky", ["script: [{at: 0, fail: no_capacity, calls: 9}],"], indirect=True)
def test_a_place_that_refuses_is_left_for_another(sky):
    job = sky.ok("sbatch --parsable -o out --wrap 'echo $SLURM_JOB_NODELIST ${SLURM_RESTART_COUNT-none}'").strip()
    sky.drain()
    assert (sky.work / "out").read_text() == "west-small-1 none\n"  # it is the job's first start
    assert sky.ok("sacct -nXP -o state,nodelist -j " + job) == "COMPLETED|west-small-1\n"


@pytest.mark.parametrize("sky", ["script: [{at: 0, fail: lost_reply, calls: 1}],"], indirect=True)
def test_a_lost_answer_makes_no_second_machine(sky):
    sky.ok("sbatch -o /dev/null --wrap 'sleep 1'")
    sky.until("squeue -h -t R -o %N", "east-small-1")
    assert len(json.loads(sky.ok("sbroker machines --json"))["east"]["machines"]) == 1
    sky.drain()
    gone(sky)


def test_a_job_cancelled_while_its_machine_boots_leaves_nothing(sky):
    job = sky.ok("sbatch --parsable --wrap true").strip()
    sky.ok("scancel " + job)
    assert sky.ok("squeue -h") == ""
    gone(sky)


def test_the_broker_is_killed_while_a_machine_boots(sky):
    sky.ok("sbatch -o out --wrap 'echo once >> runs'")
    sky.kill_broker()
    sky.drain()
    assert (sky.work / "runs").read_text() == "once\n"
    gone(sky)


def test_a_machine_that_is_lost_takes_its_run_with_it(sky):
    """Its processes die with it; the job runs again on another."""
    script = "echo ${SLURM_RESTART_COUNT-none} >> runs; [ -n \"$SLURM_RESTART_COUNT\" ] || sleep 100"
    job = sky.ok("sbatch --parsable --requeue -o /dev/null --wrap '%s'" % script).strip()
    sky.until("cat runs", "none")
    cloud = sky.home / "spool" / "east.cloud"
    found = json.loads(cloud.read_text())
    for machines in found["groups"].values():
        for machine in machines:
            machine["ended"] = time.time()
    cloud.with_suffix(".new").write_text(json.dumps(found))
    cloud.with_suffix(".new").replace(cloud)
    sky.until("squeue -h -o %i; cat runs", "none\n1", 60)
    assert sky.ok("sacct -nXP -o state -j " + job) == "COMPLETED\n"
    gone(sky)


def test_down_leaves_no_machine_behind_unsaid(sky):
    sky.ok("sbatch -o /dev/null --wrap 'sleep 100'")
    sky.until("squeue -h -t R -o %N", "east-small-1")
    assert "1 jobs wait or run" in sky.sh("sbroker down").stderr
    said = sky.ok("sbroker down --cancel")
    assert "1 machines were terminated." in said
    assert json.loads((sky.home / "spool" / "east.cloud").read_text())["groups"] != {}


def test_a_site_is_not_taken_away_from_its_machines(sky):
    config = sky.home / "config.yaml"
    whole = config.read_text()
    sky.ok("sbatch -o /dev/null --wrap 'sleep 100'")
    sky.until("squeue -h -t R -o %N", "east-small-1")
    lines = whole.replace("[east, west]", "[west]").splitlines()
    config.write_text("\n".join(line for line in lines if "east:" not in line and "price: 0.2}" not in line))
    refused = sky.sh("scontrol reconfigure")
    assert refused.returncode == 1
    assert "1 machines of the site east are there" in refused.stderr
    sky.kill_broker()
    assert "1 machines of the site east are there" in sky.sh("squeue", timeout=60).stderr
    config.write_text(whole)
    assert sky.ok("squeue -h -o '%t %N'") == "R east-small-1\n"
