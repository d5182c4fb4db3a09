"""What sbatch makes of options, variables, directives and the environment."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from submit_fakes import NOW, FakeApi, FakeClient, call_of

from sbroker.model import Dependency, DepItem, Exit, Gres, SignalSpec
from sbroker.states import JobState
from slurm_compat import directives, exporting
from slurm_compat.commands import sbatch
from slurm_compat.grammar import Invalid


def submitted(argv, script=b"#!/bin/bash\ntrue\n", env=None, **api):
    """(the fake broker, the fake client, exit code) of one sbatch of the script s.sh."""
    call = call_of("sbatch", argv, env)
    client, fake = FakeClient({"s.sh": script}), FakeApi(call, **api)
    return fake, client, asyncio.run(sbatch.run(call, client, fake))


def spec_of(argv, script=b"#!/bin/bash\ntrue\n", env=None):
    fake, client, code = submitted([*argv, "s.sh"], script, env)
    assert code == 0, client.texts[2]
    return fake.specs[0]


FIELDS = [
    (["-n", "4", "-N2-3", "-c2"], {"ntasks": 4, "nodes_min": 2, "nodes_max": 3, "cpus_per_task": 2}),
    (["-N4", "-n2"], {"ntasks": 2, "nodes_min": 2, "nodes_max": 2}),
    (["-N1-3", "-n2"], {"nodes_min": 1, "nodes_max": 2}),
    (["-t", "1-2", "--time-min=30"], {"time_limit": 93600, "time_min": 1800}),
    (["-t0"], {"time_limit": -1}),
    (["--mem=2G", "--tmp=1G"], {"mem_per_node": 2048, "tmp": 1024}),
    (["--mem-per-cpu=500"], {"mem_per_cpu": 500, "mem_per_node": None}),
    (["--gres=gpu:a100:2"], {"gres": (Gres(name="gpu", type="a100", count=2),)}),
    (["--gpus=3", "--gpus-per-task=1"], {"ntasks": 3, "gpus": (Gres(name="gpu", count=3),)}),
    (["--gpus-per-node=2", "--gpus=4"], {"nodes_min": 2, "nodes_max": 2}),
    (["--ntasks-per-gpu=2", "--gpus=2"], {"ntasks": 4}),
    (["-a", "1-3,7%2"], {"array": "1-3,7", "array_tasks": (1, 2, 3, 7), "array_limit": 2}),
    (
        ["-d", "afterok:5?afterany:6_1"],
        {"dependency": Dependency(items=(DepItem(kind="afterok", job=5), DepItem(kind="afterany", job=6, task=1)), any=True)},
    ),
    (["--begin=now+1hour"], {"begin": NOW + 3600}),
    (["--signal=B:USR1@30"], {"signal": SignalSpec(signum=10, before=30, batch=True)}),
    (["-w", "node[1-2]", "-x", "node4"], {"nodelist": ("node1", "node2"), "exclude": ("node4",)}),
    (["-o", "a/%j", "-e", "/x", "-D", "sub"], {"stdout": "/home/alice/w/sub/a/%j", "stderr": "/x", "work_dir": "/home/alice/w/sub"}),
    (["-o", "none"], {"stdout": "/dev/null"}),
    (["--exclusive", "-s"], {"exclusive": "", "oversubscribe": True}),
    (["-s", "--exclusive=user"], {"exclusive": "user", "oversubscribe": False}),
    (["--mail-type=END,fail"], {"mail_type": ("END", "FAIL")}),
    (["--no-requeue", "--hold", "--nice", "--comment=a b"], {"requeue": False, "hold": True, "nice": 100, "comment": "a b"}),
    (["--requeue", "--no-requeue"], {"requeue": False}),
    (["--propagate=NONE"], {"limits": {}}),
    ([], {"limits": {"NOFILE": (1024, 4096)}, "name": "s.sh", "command": "/home/alice/w/s.sh", "umask": 0o022, "partitions": ()}),
    (["-p", "debug,gpu", "-A", "lab", "-q", "high"], {"partitions": ("debug", "gpu"), "account": "lab", "qos": "high"}),
    (["-J", ""], {"name": ""}),
    (["-B", "2:3"], {"sockets_per_node": 2, "cores_per_socket": 3, "ntasks": 6}),
    (["--mcs-label=x", "--power=level"], {"extra": {"mcs-label": "x", "power": "level"}}),
    (["--export=NONE"], {"export": "NONE", "get_user_env": True}),
]


@pytest.mark.parametrize(("argv", "fields"), FIELDS, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_options_become_fields(argv, fields):
    spec = spec_of(argv)
    assert {name: getattr(spec, name) for name in fields} == fields


def test_arguments_of_the_script_are_kept_once():
    fake, _, _ = submitted(["s.sh", "a b", "c*", ""], b"#!/bin/bash\ntrue\n", None)
    assert (fake.specs[0].command, fake.specs[0].script_args) == ("/home/alice/w/s.sh", ("a b", "c*", ""))


def test_command_line_wins_over_variables_and_those_over_directives():
    script = b"#!/bin/bash\n#SBATCH -J script -A script -q script\ntrue\n"
    spec = spec_of(["-J", "typed"], script, {"SBATCH_JOB_NAME": "variable", "SBATCH_ACCOUNT": "variable"})
    assert (spec.name, spec.account, spec.qos) == ("typed", "variable", "script")


def test_a_memory_that_was_typed_puts_that_of_a_variable_aside():
    spec = spec_of(["--mem-per-cpu=2"], env={"SBATCH_MEM_PER_NODE": "5"})
    assert (spec.mem_per_cpu, spec.mem_per_node) == (2, None)


DIRECTIVES = [
    ("#SBATCH -J a -n 2\n#SBATCH  --mem=3   -c2", ["-J", "a", "-n", "2", "--mem=3", "-c2"]),
    ("  #SBATCH -J a", []),
    ("#SBATCH-J a", ["-J", "a"]),
    ("#SBATCH\t-J\ta", ["-J", "a"]),
    ('#SBATCH -J "a b"\n#SBATCH --comment=\'x "y" z\'', ["-J", "a b", '--comment=x "y" z']),
    ("#SBATCH -J a # comment\n#SBATCH --comment=a#b", ["-J", "a", "--comment=a"]),
    ('#SBATCH -J "a # b"', ["-J", "a # b"]),
    ("\n# c\n   \n#SBATCH -n2\nset -e\n#SBATCH -c3", ["-n2"]),
    ("##SBATCH -J a\n# SBATCH -n2\n#sbatch -c3", []),
    ('#SBATCH -J "a"b"c"', ["-J", "abc"]),
    ('#SBATCH --job-name "a"\\"b', ["--job-name", 'a"b']),
    ('#SBATCH -J ""\n#SBATCH -n2', ["-J", "-n2"]),
    ("#SBATCH -n 2 \\", ["-n", "2"]),
    ('#SBATCH --comment "it\'s"', ["--comment", "it's"]),
]


@pytest.mark.parametrize(("lines", "words"), DIRECTIVES)
def test_words_of_directives(lines, words):
    assert directives.scan("#!/bin/bash\n" + lines + "\ntrue\n", "s.sh").sbatch == words


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('#SBATCH -J "unclosed', 's.sh: line 2: Unmatched `"` in [ -J "unclosed]'),
        ("#SBATCH -n2 : -n3", "s.sh: line 2: Unexpected `:` in [ : -n3]"),
    ],
)
def test_directives_that_cannot_be_read(line, said):
    with pytest.raises(Invalid) as caught:
        directives.scan("#!/bin/bash\n" + line + "\n", "s.sh")
    assert caught.value.lines == (("fatal", said),)


PBS = [
    ("-N n -l nodes=2:ppn=3,walltime=00:10:00", {"job-name": "n", "nodes": "2", "ntasks": "6", "time": "00:10:00"}),
    (
        "-q debug -o out -e err -M me@x -m abe",
        {"partition": "debug", "output": "out", "error": "err", "mail-user": "me@x", "mail-type": "FAIL,BEGIN,END"},
    ),
    ("-l select=2:ncpus=3:mem=4gb", {"nodes": "2", "mincpus": "3", "mem": "4gb"}),
    ("-l nodes=n1+n2", {"nodelist": "n1,n2"}),
    ("-l nodes=1:gpus=2", {"nodes": "1", "gpus-per-node": "2"}),
    ("-W depend=afterok:5 -h -A acc -t 1-3", {"dependency": "afterok:5", "hold": None, "account": "acc", "array": "1-3"}),
    ("-j oe -k oe -V -S /bin/sh -r n", {}),
]


@pytest.mark.parametrize(("line", "options"), PBS)
def test_pbs(line, options):
    words = directives.scan("#!/bin/sh\n#PBS " + line + "\n", "s.sh").pbs
    assert dict(directives.pbs_options(words)) == options


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("-N a extra", (("error", "Invalid argument: extra"),)),
        ("-n", (("info", "invalid option -- 'n'"), ("error", "Unrecognized command line parameter ?"))),
    ],
)
def test_bad_pbs(line, lines):
    with pytest.raises(Invalid) as caught:
        directives.pbs_options(line.split())
    assert caught.value.lines == lines


def test_bsub():
    words = directives.scan('#!/bin/sh\n#BSUB -J n -n 2,4 -W 10 -M 2000 -m "a b" -cwd /tmp -x\n', "s.sh").bsub
    assert dict(directives.bsub_options(words)) == {
        "job-name": "n",
        "ntasks": "4",
        "time": "10",
        "mem-per-cpu": "2000K",
        "nodelist": "a,b",
        "chdir": "/tmp",
        "exclusive": None,
    }


def test_lines_for_the_broker_alone():
    spec = spec_of([], b"#!/bin/bash\n#SBROKER stage=none,data/* \ntrue\n#SBROKER late=1\n")
    assert spec.sbroker == {"stage": "none,data/*"}


@pytest.mark.parametrize(("line", "words"), [
    (b"#SBROKER stge=none", "there is no key stge; there are: stage, data, max_price, max_cost"),
    (b"#SBROKER max_cost=10USD", "max_cost=10USD is no amount of USD: write max_cost=12.50"), (b"#SBROKER stage=", "stage= says nothing"),
])  # fmt: skip
def test_a_line_for_the_broker_that_nobody_knows_is_refused(line, words):
    with pytest.raises(Exception, match="Invalid #SBROKER line in batch script: " + words):
        spec_of([], b"#!/bin/bash\n" + line + b"\ntrue\n")


ENV = {"A": "1", "B": "x y", "SLURM_ZZ": "9", "SPANK_Q": "2"}


@pytest.mark.parametrize(("export", "shipped", "login"), [
    (None, ENV, False), ("ALL", ENV, False), ("all", ENV, False), ("NONE", {"SLURM_ZZ": "9"}, True), ("NIL", {"SLURM_ZZ": "9"}, True),
    ("A,B", {"SLURM_ZZ": "9", "A": "1", "B": "x y"}, True), ("ALL,X=5,A=7", {**ENV, "X": "5"}, True), ("X=5,ALL", {**ENV, "X": "5"}, True),
    ('X="a,b",A', {"SLURM_ZZ": "9", "X": '"a,b"', "A": "1"}, True), ("NOPE,C=c=d", {"SLURM_ZZ": "9", "C": "c=d"}, True),
    ("X=,A", {"SLURM_ZZ": "9", "X": "", "A": "1"}, True), ("", {"SLURM_ZZ": "9"}, True),
])  # fmt: skip
def test_export(export, shipped, login):
    assert exporting.exported(ENV, export) == (shipped, login)


@given(
    st.dictionaries(
        st.text(st.characters(blacklist_characters="=\0", blacklist_categories=["Cs"]), min_size=1),
        st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])),
    )
)
def test_an_environment_is_shipped_whole(env):
    assert exporting.from_file(exporting.packed(env)) == env


def test_export_file_replaces_the_environment():
    call = call_of("sbatch", ["--export-file=e", "--wrap", "true"])
    client, fake = FakeClient({"e": b"A=5\0Q=7\0"}), FakeApi(call)
    assert asyncio.run(sbatch.run(call, client, fake)) == 0
    assert fake.environs == [b"A=5\0Q=7\0"]


ENDS = [
    ({"state": JobState.FAILED, "exit": Exit(code=3)}, 3),
    ({"state": JobState.COMPLETED}, 0),
    ({"state": JobState.FAILED, "exit": Exit(signal=9)}, 1),
    ({"state": JobState.CANCELLED}, 1),
    ({"state": JobState.TIMEOUT}, 1),
]


@pytest.mark.parametrize(("end", "code"), ENDS)
def test_wait_returns_how_the_job_ended(end, code):
    moves = [{"state": JobState.RUNNING}, {**end, "completing": True}, {"completing": False}]
    assert submitted(["-W", "s.sh"], moves=moves)[2] == code


def test_wrap_makes_a_script():
    fake, client, code = submitted(["--wrap", "echo $0"])
    assert (code, client.texts[1]) == (0, "Submitted batch job 7\n")
    assert fake.scripts == [b"#!/bin/sh\n# This script was created by sbatch --wrap.\n\necho $0\n"]
    assert (fake.specs[0].name, fake.specs[0].command) == ("wrap", "")


def test_verbose_lists_what_was_given():
    _fake, client, _code = submitted(["-v", "--time=5", "--mem=3G", "-D", "rel", "-o", "x%j", "s.sh"])
    assert client.texts[2].splitlines() == [
        "sbatch: defined options", "sbatch: -------------------- --------------------", "sbatch: chdir               : /home/alice/w/rel",
        "sbatch: mem                 : 3G", "sbatch: output              : /home/alice/w/rel/x%j", "sbatch: time                : 00:05:00",
        "sbatch: verbose             : 1", "sbatch: -------------------- --------------------", "sbatch: end of defined options",
    ]  # fmt: skip


SAID = [
    (["-v", "-Q", "s.sh"], "sbatch: error: don't specify both --verbose (-v) and --quiet (-Q)\n"),
    (
        ["--gpus-per-task=2", "--gpus=3", "s.sh"],
        "sbatch: error: Failed to validate job spec, --gpus not multiple of --gpus-per-task\n"
        "sbatch: error: Invalid generic resource (gres) specification\n",
    ),
    (["--gpus-per-node=2", "--gpus=a100:4", "s.sh"], "sbatch: error: Invalid GRES specification (with and without type identification)\n"),
    (
        ["--gpus=2", "-N3", "s.sh"],
        "sbatch: error: Failed to validate job spec, --gpus < -N\nsbatch: error: Invalid generic resource (gres) specification\n",
    ),
    (
        ["--ntasks-per-gpu=1", "--ntasks-per-node=2", "s.sh"],
        "sbatch: fatal: --ntasks-per-node is mutually exclusive with --ntasks-per-gpu and SLURM_NTASKS_PER_GPU\n",
    ),
    (
        ["-m", "arbitrary", "s.sh"],
        "sbatch: error: With Arbitrary distribution you need to specify a nodelist or hostfile with the -w option\n",
    ),
    (
        ["-F", "nosuch", "s.sh"],
        "sbatch: error: slurm_allocate_resources error opening file nosuch, No such file or directory\n"
        "sbatch: error: Invalid --nodefile node file\n",
    ),
    (["--export-file=nosuch", "s.sh"], "sbatch: error: Could not open user environment file nosuch\n"),
    (["--reboot", "s.sh"], "sbatch: error: rebooting of nodes is only allowed for admins\n"
        "sbatch: error: Batch job submission failed: Access/permission denied\n"),
    ([":", "-n2", "s.sh"], 'sbatch: error: heterogeneous jobs (components separated by ":") are not supported\n'),
]


@pytest.mark.parametrize(("argv", "err"), SAID, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_refused(argv, err):
    fake, client, code = submitted(argv)
    assert (client.texts[2], client.texts[1], fake.specs) == (err, "", [])
    assert code in (1, 255)
