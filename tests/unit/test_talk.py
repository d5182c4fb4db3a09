"""What srun says, sans-I/O: cases that a test with processes cannot time."""

import signal

import pytest

from slurm_compat.talk import Talk, how_ended, signal_name

LAYOUT = {"nodes": ["node1", "node2"], "tasks": [[0, 1], [2]]}


def talk(**request):
    made = Talk(dict({"ntasks": 3}, **request), {"job": 7, "kill_wait": 30})
    made.created(0, LAYOUT)
    return made


def said(made):
    return [value.decode() if kind == "err" else (kind, value) for kind, value in made.actions()]


def test_the_highest_code_wins():
    made = talk()
    made.exited("node2", [2], 3 << 8, 0)
    made.exited("node1", [0, 1], signal.SIGSEGV | 0x80, 0)
    assert said(made) == [
        "srun: error: node2: task 2: Exited with exit code 3\n",
        "srun: error: node1: tasks 0-1: Segmentation fault (core dumped)\n",
    ]
    assert made.finish() == 139
    assert said(made) == []


def test_the_second_interrupt_must_come_soon():
    made = talk()
    made.signal(signal.SIGINT, 10.0)
    first = said(made)
    assert first == ["srun: interrupt (one more within 1 sec to abort)\n", "srun: StepId=7.0 tasks 0-2: running\n"]
    made.signal(signal.SIGINT, 11.5)
    assert said(made) == first
    made.signal(signal.SIGINT, 12.0)
    assert said(made) == [
        "srun: sending Ctrl-C to StepId=7.0\n",
        "srun: forcing job termination\n",
        "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.\n",
        ("cancel", 2),
    ]
    made.exited("node1", [0, 1], signal.SIGINT, 13)
    assert said(made) == []
    assert made.finish() == 130


def test_disable_status():
    made = talk(disable_status=True)
    made.signal(signal.SIGINT, 1)
    assert said(made) == ["srun: sending Ctrl-C to StepId=7.0\n", ("signal", 2)]


def test_quit_says_its_name():
    made = talk()
    made.signal(signal.SIGQUIT, 1)
    assert said(made)[:2] == ["srun: Quit\n", "srun: forcing job termination\n"]


def test_aborted_is_said_once_and_force_terminated_not_then():
    made = talk()
    made.abort()
    made.abort()
    assert len(said(made)) == 1
    made.exited("node1", [0, 1, 2], signal.SIGKILL, 0)
    made.finish()
    assert said(made) == ["srun: error: node1: tasks 0-2: Killed\n"]


@pytest.mark.parametrize("standalone, times", [(True, 2), (False, 1)])
def test_the_srun_of_an_allocation_hears_twice_of_a_lost_node(standalone, times):
    made = talk(standalone=standalone)
    made.node_failed("node2")
    assert said(made) == ["srun: error: Node failure on node2\n"] * times
    assert made.finish() == 0


def test_patience_is_not_lost_on_a_step_that_has_ended():
    made = talk(wait=5)
    made.exited("node1", [0], 0, 100)
    assert made.deadline == 105
    made.exited("node1", [1], 0, 101)
    made.exited("node2", [2], 0, 102)
    made.tick(106)
    assert said(made) == []


def test_waiting_for_the_step():
    made = Talk({"ntasks": 1}, {"job": 7})
    made.busy("Requested nodes are busy")
    made.busy("Requested nodes are busy")
    made.created(3, {"nodes": ["node1"], "tasks": [[0]]})
    assert said(made) == [
        "srun: Job 7 step creation temporarily disabled, retrying (Requested nodes are busy)\n",
        "srun: Job 7 step creation still disabled, retrying (Requested nodes are busy)\n",
        "srun: Step created for job 7\n",
    ]


def test_verbose():
    made = talk(verbose=1)
    made.tasks_started("node1", [0, 1])
    made.exited("node1", [0, 1], 0, 0)
    assert said(made) == [
        "srun: launch/slurm: launch_p_step_launch: CpuBindType=(null type)\n",
        "srun: launching StepId=7.0 on host node1, 2 tasks: [0-1]\n",
        "srun: launching StepId=7.0 on host node2, 1 tasks: 2\n",
        "srun: route/default: init: route default plugin loaded\n",
        "srun: launch/slurm: _task_start: Node node1, 2 tasks started\n",
        "srun: launch/slurm: _task_finish: Received task exit notification for 2 tasks of StepId=7.0 (status=0x0000).\n",
        "srun: launch/slurm: _task_finish: node1: tasks 0-1: Completed\n",
    ]


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, ""), (256, "Exited with exit code 1"), (9, "Killed"), (134, "Aborted (core dumped)"), (40, "Real-time signal 6")],
)
def test_how_a_task_ended(status, text):
    assert how_ended(status) == text


def test_names_are_those_of_the_c_library():
    for signum in signal.Signals:
        if signum < 32:
            assert signal_name(signum) == signal.strsignal(signum)
