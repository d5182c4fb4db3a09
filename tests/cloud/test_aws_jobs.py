"""sbatch → EC2 → boot → SSH → job → its files back → nothing left."""

from __future__ import annotations

import pytest

from tests.cloud.system import CloudSystem
from tests.doubles.ec2.hub import until
from tests.flow.system import ROOT


@pytest.fixture(scope="module")
def system(hub, tmp_path_factory):
    if not (ROOT / ".venv").exists():
        pytest.skip("the launchers of this checkout need its .venv: run `make test`")
    made = CloudSystem(tmp_path_factory.mktemp("system"), hub)
    try:
        yield made
    finally:
        made.close()


def ended(system, job, state="COMPLETED", patience=90):
    try:
        system.drain(patience)  # its files are back then, too
        system.until("sacct -n -X -P -j %s -o State" % job, state)
    except AssertionError as error:
        raise AssertionError("%s\n%s\n%s" % (error, system.sh("squeue; sinfo -R; scontrol show job %s" % job).stdout, system.log())) from None


def test_a_job_buys_its_machine_and_gives_it_back(system):
    (system.work / "in.txt").write_text("seed\n")
    job = system.ok("sbatch --parsable --mem=1000 --wrap 'hostname; cat in.txt; echo made >out.txt'").strip()
    ended(system, job)
    words = (system.work / ("slurm-%s.out" % job)).read_text().split()
    assert words[1:] == ["seed"]
    assert (system.work / "out.txt").read_text() == "made\n"
    until(lambda: set(system.hub.states().values()) == {"terminated"})
    left = "said = [one['GroupName'] for one in ec2.describe_security_groups()['SecurityGroups'] if one['GroupName'].startswith('sbroker')]"
    until(lambda: system.hub.python(left) == [])
    assert not any(record["alive"] for record in system.hub.cloud.hosts().values())


def test_a_job_whose_machine_is_taken_back_goes_on_elsewhere(system):
    """The agent sees the notice; the job is told, and runs again on another machine under its id."""
    script = "echo run $SLURM_RESTART_COUNT; [ -n \"$SLURM_RESTART_COUNT\" ] && exit 0; sleep 300"
    job = system.ok("sbatch --parsable --requeue --constraint=spot --wrap '%s'" % script).strip()
    system.until("squeue -h -j %s -o %%T" % job, "RUNNING", 90)
    (machine,) = system.instances("running")
    system.hub.control("interrupt", id=machine, notice=30)
    ended(system, job)
    assert "run 1" in (system.work / ("slurm-%s.out" % job)).read_text()
    assert len(system.instances("terminated")) >= 2
    until(lambda: set(system.hub.states().values()) == {"terminated"})


def test_two_machines_of_one_job_find_each_other(system):
    job = system.ok("sbatch --parsable -N2 --ntasks-per-node=1 --wrap 'srun hostname; getent hosts $(scontrol show hostnames) | wc -l'").strip()
    ended(system, job)
    words = (system.work / ("slurm-%s.out" % job)).read_text().split()
    assert len(set(words)) == 3
    assert words[2] == "2"


ZONES = "said = [one['Placement']['AvailabilityZone'] for r in ec2.describe_instances(InstanceIds=words)['Reservations'] for one in r['Instances']]"


def test_no_capacity_in_one_zone_is_another_zone(system):
    until(lambda: not system.instances("pending", "running"))
    before = set(system.hub.states())
    system.hub.control("capacity", **{"m5.large/us-east-1a": 0})
    try:
        job = system.ok("sbatch --parsable --wrap hostname").strip()
        ended(system, job)
        assert system.hub.python(ZONES, *(set(system.hub.states()) - before)) == ["us-east-1b"]
    finally:
        system.hub.control("capacity", **{"m5.large/us-east-1a": 1000})
