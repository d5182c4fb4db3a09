"""getopt_long as glibc does it, over the option table; and the table itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_compat import getopt, optable
from slurm_compat.frontend import COMMANDS, FrontEnd
from slurm_compat.setters import SETTERS


@pytest.mark.parametrize(
    ("command", "argv", "pairs", "rest"),
    [
        ("sbatch", ["--jo=abbr", "-n3", "ok.sh", "-n", "4"], [("job-name", "abbr"), ("ntasks", "3")], ["ok.sh", "-n", "4"]),
        ("sbatch", ["--", "-n"], [], ["-n"]),
        ("sbatch", ["-"], [], ["-"]),
        ("sbatch", ["--exclusive", "x"], [("exclusive", None)], ["x"]),
        ("sbatch", ["--nice=3", "--nice"], [("nice", "3"), ("nice", None)], []),
        ("sbatch", ["-abc"], [("array", "bc")], []),
        ("salloc", ["-I", "5"], [("immediate", None)], ["5"]),
        ("salloc", ["-I5"], [("immediate", "5")], []),
        ("sbatch", ["--tasks-per-node=2"], [("ntasks-per-node", "2")], []),
        ("srun", ["-lun2", "a"], [("label", None), ("unbuffered", None), ("ntasks", "2")], ["a"]),
        ("squeue", ["1", "-h", "2"], [("noheader", None)], ["1", "2"]),
        ("squeue", ["--job=3"], [("jobs", "3")], []),
        ("scancel", ["--user", "a"], [("user", "a")], []),
    ],
)
def test_parsed(command, argv, pairs, rest):
    assert getopt.parse_argv(command, argv) == (pairs, rest)


@pytest.mark.parametrize(
    ("command", "argv", "sentence", "code"),
    [
        ("sbatch", ["--bogus=1"], "unrecognized option '--bogus=1'", 255),
        ("sbatch", ["-1"], "invalid option -- '1'", 255),
        ("sbatch", ["--wrap"], "option '--wrap' requires an argument", 255),
        ("sbatch", ["-o"], "option requires an argument -- 'o'", 255),
        ("sbatch", ["--hold=3"], "option '--hold' doesn't allow an argument", 255),
        ("squeue", ["--siblin=x"], "option '--sibling' doesn't allow an argument", 1),
        ("sbatch", ["--u"], "option '--u' is ambiguous; possibilities: '--uid' '--use-min-nodes' '--usage'", 255),
        ("sbatch", ["--i"], "option '--i' is ambiguous; possibilities: '--ignore-pbs' '--input'", 255),
        ("srun", ["--job"], "option '--job' is ambiguous; possibilities: '--jobid' '--job-name'", 255),
        ("squeue", ["--a"], "option '--a' is ambiguous; possibilities: '--accounts' '--all' '--array' '--array-unique'", 1),
    ],
)
def test_refused(command, argv, sentence, code):
    with pytest.raises(getopt.BadOption) as caught:
        getopt.parse_argv(command, argv)
    assert caught.value.text == '%s: %s\nTry "%s --help" for more information\n' % (command, sentence, command)
    assert caught.value.code == code


def test_sacct_gives_no_hint():
    with pytest.raises(getopt.BadOption) as caught:
        getopt.parse_argv("sacct", ["--zzz"])
    assert caught.value.text == "sacct: unrecognized option '--zzz'\n"


@pytest.mark.parametrize(
    ("command", "env", "options"),
    [
        ("srun", {"SLURM_LABELIO": "0"}, {}),
        ("srun", {"SLURM_LABELIO": ""}, {"label": True}),
        ("srun", {"SLURM_LABELIO": "7"}, {"label": True}),
        ("srun", {"SLURM_NPROCS": "3", "SLURM_NTASKS": "2"}, {"ntasks": "2"}),
        ("srun", {"SLURM_EXPORT_ENV": "A", "SRUN_EXPORT_ENV": "B"}, {"export": "B"}),
        ("srun", {"SBATCH_PARTITION": "gpu"}, {}),
        ("sbatch", {"SBATCH_EXCLUSIVE": ""}, {"exclusive": True}),
        ("sbatch", {"SBATCH_NO_REQUEUE": "no"}, {}),
        ("srun", {"SLURM_STEP_GRES": "gpu:1"}, {}),
        ("srun", {"SLURM_STEP_GRES": "gpu:1", "SLURM_JOB_ID": "5"}, {"gres": "gpu:1", "jobid": "5"}),
        ("sbatch", {"SBATCH_DEBUG": "2"}, {"verbose": 2}),
        ("salloc", {"SALLOC_BELL": "1"}, {"bell": True}),
        ("sinfo", {"SINFO_FORMAT": "%n"}, {"format": "%n"}),
    ],
)
def test_variables(command, env, options):
    assert getopt.parse(command, [], env).options == options


def test_typed_wins_over_variables_and_verbose_counts():
    raw = getopt.parse("srun", ["-vv", "-n5", "-v", "a"], {"SLURM_NTASKS": "2"})
    assert (raw.options, raw.sources, raw.rest) == ({"ntasks": "5", "verbose": 3}, {"ntasks": "cli", "verbose": "cli"}, ["a"])


@given(st.sampled_from(COMMANDS), st.lists(st.one_of(st.text(max_size=8), st.text("-=abnNptw1", max_size=8)), max_size=5))
def test_any_command_line_is_parsed_or_refused(command, argv):
    try:
        parsed = getopt.parse_argv(command, argv)
    except getopt.BadOption:
        return
    names = optable.by_name(command)
    assert all(name in names for name, _ in parsed.pairs)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_table_is_sound(command):
    rows = optable.options(command)
    letters = [(row.short, row.canonical) for row in rows if row.short]
    assert len({letter for letter, _ in letters}) == len(set(letters))
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.cls in (optable.HONOURED, optable.HARMLESS, optable.REFUSED) for row in rows)
    assert all(row.note for row in rows if row.cls != optable.HONOURED)
    assert all(row.canonical in optable.by_name(command) or row.canonical == "ntasks-per-node" for row in rows)


@pytest.mark.parametrize("command", ["sbatch", "srun", "salloc"])
def test_at_least_85_in_100_options_are_honoured_or_harmless(command):
    classes = [row["class"] for row in FrontEnd().option_rows() if row["command"] == command]
    assert sum(cls != optable.REFUSED for cls in classes) >= 0.85 * len(classes)


@pytest.mark.parametrize("command", ["sbatch", "salloc"])
def test_every_option_has_a_setter(command):
    assert set(optable.by_name(command)) <= set(SETTERS)


def test_what_srun_refuses_is_refused_before_anything_is_allocated():
    assert {name for name, row in optable.by_name("srun").items() if row.cls == optable.REFUSED} <= set(SETTERS)
