"""Files on hosts that share nothing with the submit host: there before a job starts, back when it has ended, whatever the network does."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.flow.system import ROOT, System
from tests.hosts.system import CONFIG

# The array has the last job id that is in a file's name: its tasks have ids by when they start.
LINES = ("sbatch hello.sh", "sbatch -n 4 fanout.sh", "sbatch rendezvous.sh", "ITEMS=2 sbatch --export=ALL,ITEMS checkpoint.sh", "sbatch array.sh", "bash chain.sh")
LOCAL = """partitions: [{name: debug, default: true, sites: [here], max_time: infinite}]
sites: {here: {provider: local, nodes: "node[1-2]", cpus: %d, memory: 4000M}}
"""  # as many CPUs as the hosts have: a layout goes by them

ROOTS = CONFIG.replace("user: ubuntu", "user: root")


@pytest.fixture(params=["ubuntu", "root"])
def system(make_system, request):
    """Nodes whose agent is an ordinary account, or root, which makes the submit directory at its own path."""
    made = make_system("n[1-2]", ROOTS if request.param == "root" else CONFIG)
    made.login = request.param
    made.idle("n[1-2]")
    return made


def script(system, name: str, text: str) -> None:
    Path(system.work, name).write_text("#!/bin/bash\n" + text)


def test_a_script_finds_its_files_and_leaves_its_results(system):
    work = Path(system.work)
    (work / "data").mkdir()
    (work / "data/in").write_text("from here\n")
    (work / "tool").write_text("#!/bin/sh\ncat data/in; hostname\n")
    (work / "tool").chmod(0o755)
    script(system, "job.sh", "pwd\n./tool\nsrun -N2 -n2 sh -c './tool > result.$SLURM_PROCID'\ncat > $SLURM_SUBMIT_DIR/data/made </dev/null\n")
    system.ok("sbatch -W -N2 -o out job.sh")
    said = (work / "out").read_text().splitlines()
    assert said[1:] == ["from here", "n1"]
    assert (said[0] == str(work)) == (system.login == "root")
    assert [(work / ("result.%d" % rank)).read_text() for rank in (0, 1)] == ["from here\nn1\n", "from here\nn2\n"]
    assert (work / "data/made").read_text() == ""


def test_srun_alone_finds_its_files(system):
    (Path(system.work) / "in").write_text("here\n")
    assert system.ok("srun -N2 -n2 sh -c 'cat in; cat $SLURM_SUBMIT_DIR/in; echo $SLURM_PROCID > out$SLURM_PROCID'") == "here\n" * 4
    assert [(Path(system.work) / ("out%d" % rank)).read_text() for rank in (0, 1)] == ["0\n", "1\n"]


def test_a_chain_that_submits_itself(system):
    work = Path(system.work)
    script(system, "job.sh", 'n=$(($(cat n) + 1)); echo $n > n\n[ $n -lt 4 ] && sbatch -w n$((n % 2 + 1)) -o out$n job.sh\nexit 0\n')
    (work / "n").write_text("0\n")
    system.ok("sbatch -w n1 -o out0 job.sh")
    system.until("cat n", "4")
    system.drain()
    assert (work / "out3").read_text() == ""


def test_lines_appear_while_the_job_runs_and_a_cut_loses_none(system):
    work = Path(system.work)
    script(system, "job.sh", "for i in $(seq 3000); do echo line $i; [ $((i % 300)) = 0 ] && sleep 0.2; done; echo x > done\n")
    job = system.ok("sbatch --parsable -w n2 -o out job.sh").strip()
    system.until("grep -c . out | xargs test 200 -lt && echo yes", "yes")
    system.cloud.cut("n2")
    time.sleep(1)
    system.cloud.heal("n2")
    system.kill_agent("n2") if system.login == "ubuntu" else system.kill_broker()
    system.until("squeue -h -o %%i -j %s" % job, "", 90)
    assert (work / "out").read_text() == "".join("line %d\n" % number for number in range(1, 3001))
    assert (work / "done").read_text() == "x\n"
    assert system.ok("sacct -nXP -o state -j %s" % job).strip() == "COMPLETED"


def test_a_virtual_environment_works_there(system):
    """The interpreter is the host's; what was installed comes along by content."""
    work = Path(system.work)
    system.ok("/usr/bin/python3 -m venv --without-pip --copies venv")
    site = next((work / "venv/lib").glob("python3*/site-packages"))
    (site / "ours.py").write_text("WORD = 'ours'\n")
    script(system, "job.sh", "python -c 'import ours; print(ours.WORD)'\nsrun python -c 'import ours, sys; print(ours.WORD, sys.prefix)'\necho $VIRTUAL_ENV\n")
    system.ok("source venv/bin/activate; sbatch -W -o out job.sh; srun python -c 'import ours; print(ours.WORD)' > out2")
    first, second, third = (work / "out").read_text().splitlines()
    assert (first, second) == ("ours", "ours " + third)
    assert (work / "out2").read_text() == "ours\n"


def test_an_allocation_feels_as_if_the_file_system_were_shared(system):
    """What is changed between two sruns of a salloc is there for the next one, and their results are here when they return."""
    (Path(system.work) / "in").write_text("one\n")
    said = system.ok("salloc -Q -N2 bash -c 'srun cat in; echo two > in; srun -N2 sh -c \"cat in; echo \\$SLURM_PROCID > out\\$SLURM_PROCID\"; cat out0 out1'")
    assert said == "one\none\ntwo\ntwo\n0\n1\n"


def results(folder: Path) -> dict[str, list[str]]:
    """The files of a folder, by name, without what differs from run to run: lines sorted, names of nodes and folders left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            text = re.sub(r"\bn(ode)?[0-9]\b", "NODE", path.read_text().replace(str(folder), "HERE"))
            found[str(path.relative_to(folder))] = sorted(re.sub(r"/\S*/files/\S*", "HERE", text).splitlines())
    return found


def test_examples_leave_the_same_files_as_on_this_machine(make_system, tmp_path):
    """All that need nothing but Python: arrays, chains, steps over nodes, sockets between ranks, requeues."""
    examples = ROOT / "examples"
    (tmp_path / "local").mkdir()
    local = System(tmp_path / "local", "cluster: hosts\nkill_wait: 2\nmin_job_age: 3600\n" + LOCAL % (os.cpu_count() or 1))
    there = make_system("n[1-2]", CONFIG)
    there.idle("n[1-2]")
    found = []
    try:
        for system in (local, there):
            work = Path(system.work)
            for name in ("hello.sh", "array.sh", "chain.sh", "fanout.sh", "rendezvous.sh", "rendezvous.py", "checkpoint.sh"):
                shutil.copy(examples / name, work)
            for line in LINES:
                system.ok(line)
            system.drain(120)
            found.append(results(work))
    finally:
        local.close()
    assert found[1] == found[0]
    assert found[1]["rendezvous-3.out"][0].endswith("on NODE: sum 6")
    assert found[1]["chain-report.out"] == ["100"] or found[1]["chain-report.out"] == ["10 20 30 40"]
