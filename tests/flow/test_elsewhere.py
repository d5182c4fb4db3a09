"""Jobs on nodes that are not like the submit host: the environment that they get, the site's software, the commands inside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.flow.system import System

MODULE = """module() {
    [ "$1" = load ] || return 1
    case $2 in
    tool/*) export LOADEDMODULES="$LOADEDMODULES${LOADEDMODULES:+:}$2" PATH="/opt/$2/bin:$PATH" ;;
    *) echo "cannot find $2" >&2 ;;  # as old ones do: no exit code
    esac
}
"""
CONFIG = """
cluster: system
kill_wait: 2
min_job_age: 3600
partitions:
  - {name: debug, default: true, sites: [here], max_time: infinite}
  - {name: far, sites: [far]}
  - {name: lab, sites: [lab]}
  - {name: broken, sites: [broken]}
  - {name: missing, sites: [missing]}
  - {name: none, sites: [none]}
sites:
  here: {provider: local, nodes: "here1", cpus: 4, memory: 4000M}
  far: {provider: local, nodes: "far[1-2]", cpus: 4, memory: 4000M, twin: false, env: {SITE: far, NUMBER: 7}}
  lab:
    provider: local
    nodes: "lab[1-2]"
    cpus: 4
    memory: 4000M
    twin: false
    modules: [tool/1.2]
    env: {SITE: lab}
    setup: |
      echo run >>"$SETUP_LOG"
      export FROM_SETUP="$SITE $(( 1 + 1 ))"
      unset DROPPED
  broken: {provider: local, nodes: "broken1", cpus: 4, memory: 4000M, twin: false, setup: "echo no licence >&2; (exit 3)"}
  missing: {provider: local, nodes: "missing1", cpus: 4, memory: 4000M, twin: false, modules: [other/1]}
  none: {provider: local, nodes: "none1", cpus: 4, memory: 4000M, twin: false, modules: [tool/1.2], env: {MODULESHOME: /nonexistent}}
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    made = System(folder)
    init = folder / "modules" / "init"
    init.mkdir(parents=True)
    (init / "bash").write_text(MODULE)
    config = CONFIG.replace("env: {SITE: lab}", "env: {SITE: lab, MODULESHOME: %s}" % init.parent)
    (made.home / "config.yaml").write_text(config.replace("modules: [other/1]", "modules: [other/1], env: {MODULESHOME: %s}" % init.parent))
    made.env.update(MY="mine", LD_SECRET="no", AWS_KEY="no", HTTP_PROXY="no", SETUP_LOG=str(folder / "setup.log"), DROPPED="here", OMP_NUM_THREADS="3")
    try:
        yield made
    finally:
        made.close()


def environ(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def job(system: System, options: str, script: str) -> str:
    """The output of a batch job."""
    (system.work / "job.sh").write_text("#!/bin/bash\n" + script)
    system.sh("rm -f out; sbatch -W %s -o out job.sh" % options)
    return (system.work / "out").read_text()


def test_a_batch_job_gets_the_nodes_own_and_what_is_its_own(system):
    found = environ(job(system, "-p far -w far1", "env\n"))
    assert {"LD_SECRET", "AWS_KEY", "HTTP_PROXY"} & set(found) == set()
    assert (found["MY"], found["SITE"], found["NUMBER"], found["OMP_NUM_THREADS"]) == ("mine", "far", "7", "3")
    assert found["PWD"] == str(system.work) and found["HOSTNAME"] == "far1"
    assert str(Path(__file__).parents[2] / "bin") not in found["PATH"].split(":")


def test_a_twin_gets_all(system):
    found = environ(job(system, "-p debug", "env\n"))
    assert (found["LD_SECRET"], found["AWS_KEY"], found["PATH"].split(":")[0]) == ("no", "no", system.env["PATH"].split(":")[0])


def test_export_names_what_goes_along_and_before_the_site(system):
    found = environ(job(system, "-p far --export=ALL,LD_SECRET,SITE=my", "env\n"))
    assert (found["LD_SECRET"], found["SITE"], "AWS_KEY" in found) == ("no", "my", False)


def test_srun_from_the_submit_host(system):
    found = environ(system.ok("srun -p far env"))
    assert {"LD_SECRET", "AWS_KEY", "HTTP_PROXY"} & set(found) == set()
    assert (found["MY"], found["SITE"]) == ("mine", "far")


def test_commands_inside_are_the_nodes_own(system):
    said = job(system, "-p far -N2", 'command -v srun squeue\nsrun -l hostname\nsqueue -h -o %i:%T\nsbatch --wrap true -p far -o /dev/null\nsrun --version\n')
    lines = said.splitlines()
    folder = os.path.dirname(lines[0])
    assert folder.startswith(str(system.home)) and os.path.basename(folder).startswith("bin-")
    assert lines[1] == folder + "/squeue"
    assert sorted(lines[2:4]) == ["0: far1", "1: far2"]
    assert "RUNNING" in said and "Submitted batch job" in said and "slurm 22.05" in lines[-1]
    system.drain()


def test_what_a_script_set_there_reaches_its_tasks(system):
    said = job(system, "-p far -N2", "export LD_SECRET=made\nsrun env | grep -c ^LD_SECRET=made\n")
    assert said == "2\n"


def test_modules_setup_and_env_come_before_the_script_once(system):
    log = Path(system.env["SETUP_LOG"])
    log.unlink(missing_ok=True)
    said = job(system, "-p lab", "env\nsrun -n4 --overcommit true\nsrun true\n")
    found = environ(said)
    assert (found["FROM_SETUP"], found["LOADEDMODULES"], found["PATH"].split(":")[1]) == ("lab 2", "tool/1.2", "/opt/tool/1.2/bin")
    assert "DROPPED" not in found and not [name for name in found if name.startswith("__sbroker")]
    assert log.read_text() == "run\n"


def test_and_before_the_tasks_of_srun_once_on_each_node(system):
    log = Path(system.env["SETUP_LOG"])
    log.unlink(missing_ok=True)
    said = system.ok("printf abc | srun -p lab -N2 -n4 -l sh -c 'echo $FROM_SETUP; cat'")
    assert sorted(said.splitlines()) == ["%d: %s" % (rank, word) for rank in range(4) for word in ("abc", "lab 2")]
    assert log.read_text() == "run\nrun\n"


def test_and_before_an_interactive_shell(system):
    done = system.sh("script -qec \"srun -p lab --pty bash -c 'echo \\$FROM_SETUP; tty'\" /dev/null </dev/null")
    assert "lab 2" in done.stdout and "/dev/pts/" in done.stdout


@pytest.mark.parametrize(("partition", "words"), [
    ("broken", "site broken: its setup ended with exit code 3"),
    ("missing", "site missing: module load other/1 failed"),
    ("none", "site none: the key modules asks for module load, and there is no module command on this node"),
])  # fmt: skip
def test_a_setup_that_fails_fails_the_job_before_its_script(system, partition, words):
    said = job(system, "-p %s" % partition, "echo never\n")
    assert said.splitlines()[-1] == "slurmstepd-%s1: error: %s" % (partition, words) and "never" not in said
    assert system.ok("sacct -n -X -P -o State,ExitCode --name=job.sh | tail -1").strip() == "FAILED|1:0"
    done = system.sh("srun -p %s echo never" % partition)
    assert done.returncode == 1 and done.stdout == "" and "slurmstepd-%s1: error: %s" % (partition, words) in done.stderr


def test_the_reason_of_such_a_job_is_the_sentence(system):
    number = system.ok("sbatch --parsable -W -p broken -o /dev/null --wrap true || true").split()[0]
    assert "broken1: site broken: its setup ended with exit code 3" in system.ok("sbroker explain %s || true" % number)


def test_limits_stay_the_nodes_own(system):
    assert system.ok("ulimit -Sn 77; srun -p debug bash -c 'ulimit -Sn'") == "77\n"
    assert system.ok("ulimit -Sn 77; srun -p far bash -c 'ulimit -Sn'") != "77\n"
    system.sh("ulimit -Sn 77; sbatch -W -p far -o out --wrap 'ulimit -Sn'")
    assert (system.work / "out").read_text() != "77\n"
