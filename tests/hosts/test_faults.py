"""What becomes of jobs when a host dies, is started again, or is cut off."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.hosts.system import SHARED, HostsSystem

JOB = """#!/bin/bash
#SBATCH -N2 -o %x.out
echo $SLURM_JOB_NODELIST ${SLURM_RESTART_COUNT:-0} > started.$SLURM_JOB_NAME
while [ ! -e go ]; do sleep 0.1; done
srun -l hostname
echo rc $?
"""


@pytest.fixture(params=["disk", "nodisk"])
def system(hub, request):
    """Two hosts of its own, d1 and d2, whose disks are kept, or not."""
    names = [hub.extra("%s%d" % (request.param, number), disk=request.param == "disk") for number in (1, 2)]
    made = HostsSystem(hub.room(request.node.name.replace("[", "-").rstrip("]")), hub.cloud, hub.key, request.param + "[1-2]", SHARED.replace("lost_after: 60", "lost_after: 15"))
    made.names = names
    (made.work / "job.sh").write_text(JOB)
    try:
        made.idle(request.param + "[1-2]")
        yield made
    finally:
        hub.cloud.boot(*[name for name in names if not hub.cloud.hosts()[name]["alive"]])
        made.close()
        for name in names:
            hub.cloud.remove(name)


def started(system, name: str, count: int = 0) -> list[str]:
    path = Path(system.work, "started." + name)
    end = time.monotonic() + 60
    while not path.exists() or path.read_text().split()[1:] != [str(count)]:
        assert time.monotonic() < end, system.sh("squeue; sinfo -R").stdout
        time.sleep(0.1)
    return path.read_text().split()


@pytest.mark.parametrize("which", [0, 1], ids=["head", "other"])
def test_a_host_that_was_started_again_ends_its_job(system, which):
    """It comes back within seconds, long before it would be missed: the job on it is lost nevertheless."""
    job = system.ok("sbatch --parsable --no-requeue -J once job.sh").strip()
    started(system, "once")
    system.cloud.kill(system.names[which])
    system.cloud.boot(system.names[which])
    system.until("sacct -nXP -o state -j " + job, "NODE_FAIL", 60)
    (system.work / "go").touch()
    system.idle(",".join(system.names))
    assert "rc" not in Path(system.work, "once.out").read_text()


def test_a_job_that_may_be_requeued_runs_again(system):
    job = system.ok("sbatch --parsable --requeue -J again job.sh").strip()
    started(system, "again")
    system.cloud.kill(system.names[1])
    system.cloud.boot(system.names[1])
    time.sleep(1)
    system.until("squeue -h -t all -o %%T,%%r -j %s | sed 's/CONFIGURING/PENDING/; s/,.*//'" % job, "PENDING", 60)
    system.ok("scontrol update jobid=%s starttime=now" % job)
    started(system, "again", 1)
    (system.work / "go").touch()
    system.until("sacct -nXP -o state -j " + job, "COMPLETED", 60)
    said = Path(system.work, "again.out").read_text().splitlines()
    assert (sorted(said[:2]), said[2]) == (["%d: %s" % (rank, name) for rank, name in enumerate(system.names)], "rc 0")


def test_a_host_that_stays_away_ends_its_job(system):
    job = system.ok("sbatch --parsable --no-requeue -J away job.sh").strip()
    started(system, "away")
    system.cloud.kill(system.names[1])
    system.until("sacct -nXP -o state -j " + job, "NODE_FAIL", 90)
    system.reason(system.names[1], "Not responding")
    system.cloud.boot(system.names[1])
    system.idle(",".join(system.names))
    system.drain()


def test_a_host_that_was_cut_off_goes_on(system):
    job = system.ok("sbatch --parsable --no-requeue -J cut job.sh").strip()
    started(system, "cut")
    for name in system.names:
        system.cloud.cut(name)
    time.sleep(3)
    (system.work / "go").touch()
    for name in system.names:
        system.cloud.heal(name)
    system.until("sacct -nXP -o state -j " + job, "COMPLETED", 60)
    assert Path(system.work, "cut.out").read_text().splitlines()[-1] == "rc 0"


def test_down_says_what_it_cannot_end_and_takes_an_operators_word(system):
    """The job of a host that never comes back keeps no broker from ending."""
    name = system.names[1]
    job = system.ok("sbatch --parsable --no-requeue -N1 -w %s -J never job.sh" % name).strip()
    started(system, "never")
    system.cloud.kill(name)
    done = system.sh("timeout 150 sbroker down --cancel")
    assert done.returncode == 1, done
    assert "Job %s may still be on %s, which has not answered since 2" % (job, name) in done.stderr
    assert "scontrol update nodename=%s state=down" % name in done.stderr and "down --keep" in done.stderr
    assert "has not answered since" in system.ok("sbroker explain " + job)
    assert system.ok("sinfo -h -N -n %s -o %%t" % name).strip() in ("comp*", "down*")
    system.ok("scontrol update nodename=%s state=down reason=off" % name)
    assert system.ok("squeue -h") == ""
    assert "has ended" in system.ok("timeout 60 sbroker down --cancel")
    system.cloud.boot(name)
    system.ok("sinfo; scontrol update nodename=%s state=resume" % name)
    system.idle(",".join(system.names))
