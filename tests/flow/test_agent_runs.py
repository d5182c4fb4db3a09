"""A batch script on one node, with real processes: files, exits, limits, signals, the end."""

import os
import signal
import time
from pathlib import Path

import pytest
from agentlab import gone, wait_for


def test_a_script_runs_and_nothing_is_left(lab):
    lab.run('echo "$JOB.$RUN on $NODE"; echo err >&2; exit 3')
    ended = lab.wait("ended")["data"]
    lab.wait("empty")
    assert lab.kinds() == ["held", "started", "step_start", "step_end", "ended", "empty"]
    assert (ended["code"], ended["signal"], ended["why"]) == (3, 0, "exit")
    assert lab.output() == "1.0 on node1\nerr\n"
    assert (lab.folder / "runs" / "1.0").stat().st_mode & 0o777 == 0o700
    lab.order("forget")
    lab.order("revoke", job=9)
    lab.wait("empty", 9)
    assert not (lab.folder / "runs" / "1.0").exists()


def test_arguments_environment_folder_and_umask_are_the_jobs(lab, tmp_path):
    (tmp_path / "w").mkdir()
    lab.run('echo "$@"; pwd; umask; echo "$A"; ps -o sid= -p $$ | grep -qw $SLURM_TASK_PID || [ $$ = $SLURM_TASK_PID ] && echo pid',
            environ=b"A=b\xff\0", spec={"script_args": ["one", "two words"], "work_dir": str(tmp_path / "w"), "umask": 0o027})
    lab.wait("empty")
    with open(tmp_path / "1.out", "rb") as stream:
        assert stream.read() == b"one two words\n%s\n0027\nb\xff\npid\n" % str(tmp_path / "w").encode()
    assert (tmp_path / "1.out").stat().st_mode & 0o777 == 0o640


def test_limits_are_set_as_far_as_the_node_allows(lab):
    lab.run("ulimit -n; ulimit -c", spec={"limits": {"NOFILE": [77, 77], "CORE": [0, 0]}})
    lab.wait("empty")
    assert lab.output() == "77\n0\n"


def test_the_output_is_truncated_or_appended_to_and_stderr_may_be_apart(lab, tmp_path):
    for name in ("1.out", "2.out"):
        (tmp_path / name).write_text("before\n")
    lab.run("echo out; echo err >&2", spec={"stderr": f"{tmp_path}/%j.err"})
    lab.run("echo out", job=2, spec={"open_mode": "append"})
    lab.wait("empty", 1)
    lab.wait("empty", 2)
    assert lab.output(1) == "out\n"
    assert (tmp_path / "1.err").read_text() == "err\n"
    assert lab.output(2) == "before\nout\n"


@pytest.mark.parametrize("field", ["stdin", "stdout", "stderr"])
def test_a_file_that_cannot_be_opened_is_a_launch_failure(lab, field):
    lab.run("echo never", spec={field: "/nosuch/folder/file"})
    ended = lab.wait("ended")["data"]
    lab.wait("empty")
    assert (ended["code"], ended["signal"], ended["why"]) == (0, 53, "launch")
    assert "/nosuch/folder/file" in ended["error"]


def test_a_missing_folder_is_said_twice_and_tmp_is_taken(lab, tmp_path):
    lab.run("pwd", spec={"work_dir": "/nosuch"})
    lab.wait("empty")
    said = "<chdir error=No such file or directory node=node1 path=/nosuch>\n"
    assert lab.output() == said + said + "/tmp\n"


def test_an_interpreter_that_is_not_there_ends_with_its_errno(lab):
    text = b"#!/no/such/interp\n"
    lab.send({"op": "prepare", "job": 1, "run": 0, "info": lab.info(), "script_size": len(text), "environ_size": 0}, text)
    lab.order("start")
    assert lab.wait("ended")["data"]["code"] == 2
    lab.wait("empty")
    assert lab.output() == "<execve error=No such file or directory node=node1 path=bad interpreter(/no/such/interp)>\n"


def test_a_signal_that_ends_the_script_is_told(lab):
    lab.run("kill -9 $$")
    ended = lab.wait("ended")["data"]
    assert (ended["code"], ended["signal"], ended["why"]) == (0, 9, "signal")


def test_what_the_script_leaves_behind_is_killed(lab, tmp_path):
    lab.run("setsid sleep 1000 & echo $! > pids; (setsid sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' & echo $! >> pids); exit 0")
    lab.wait("empty")
    assert lab.wait("ended")["data"]["code"] == 0
    assert all(gone(pid) for pid in (tmp_path / "pids").read_text().split())


def test_an_end_is_ordered_politely_then_enforced(lab):
    lab.run("trap 'echo T; exit 7' TERM; echo ready; sleep 1000 & wait")
    lab.run("trap '' TERM; echo ready; sleep 1000; sleep 1000", job=2)
    wait_for(lambda: lab.output(1) and lab.output(2))
    for job in (1, 2):
        lab.order("end", job, why="cancel", uid=0)
    first, second = lab.wait("ended", 1)["data"], lab.wait("ended", 2)["data"]
    lab.wait("empty", 1)
    lab.wait("empty", 2)
    assert (first["code"], first["why"], second["signal"], second["why"]) == (7, "cancel", 9, "cancel")
    assert lab.kinds(1) == ["held", "started", "step_start", "ending", "step_end", "ended", "empty"]
    assert lab.output(1) == "ready\n<job_cancelled job=1 node=node1 why=cancel>\nT\n"


def test_the_time_limit_works_without_anybody(lab):
    lab.run("sleep 1000", time_limit=1)
    assert lab.wait("ending")["data"] == {"why": "time_limit"}
    assert lab.wait("ended")["data"]["why"] == "time_limit"
    lab.wait("empty")
    assert "<job_cancelled job=1 node=node1 why=time_limit>" in lab.output()


def test_a_new_time_limit_is_taken_up(lab):
    lab.run("sleep 1000", time_limit=1000)
    lab.order("adjust", time_limit=1)
    assert lab.wait("ended")["data"]["why"] == "time_limit"


def test_the_warning_signal_reaches_the_batch_shell(lab):
    lab.run("trap 'echo USR1; exit 12' USR1; sleep 1000 & wait", time_limit=1000,
            spec={"signal": {"signum": 10, "before": 999, "batch": True}})
    assert lab.wait("ended")["data"]["code"] == 12
    lab.wait("empty")
    assert lab.output() == "USR1\n"


def test_signals_reach_the_shell_alone_or_all_or_only_steps(lab):
    lab.run("trap 'echo shell' USR1 USR2; trap 'exit 5' INT\n"
            "sh -c 'trap \"echo child\" USR1 USR2; echo up; while :; do sleep 0.1; done' &\nwhile :; do sleep 0.1; done")
    wait_for(lambda: "up" in lab.output())
    lab.order("signal", signum=signal.SIGUSR1, batch=False, full=False, step=None)  # no step: reaches nobody
    lab.order("signal", signum=signal.SIGUSR1, batch=True, full=False, step=None)
    wait_for(lambda: "shell" in lab.output())
    assert "child" not in lab.output()
    lab.order("signal", signum=signal.SIGUSR2, batch=False, full=True, step=None)
    wait_for(lambda: "child" in lab.output() and lab.output().count("shell") == 2)
    lab.order("signal", signum=signal.SIGINT, batch=True, full=False, step=None)
    assert lab.wait("ended")["data"]["code"] == 5


def test_suspend_stops_and_resume_goes_on(lab):
    lab.run("echo up; while [ ! -e go ]; do sleep 0.05; done; echo over", time_limit=1000)
    wait_for(lambda: lab.output() == "up\n")
    lab.order("freeze", suspend=True)
    lab.wait("suspended")
    pid = next(pid for pid in os.listdir("/proc") if pid.isdigit() and _shell_of(pid, lab.folder))
    wait_for(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    lab.order("freeze", suspend=False)
    lab.wait("resumed")
    (lab.folder.parent / "go").touch()
    assert lab.wait("ended")["data"]["why"] == "exit"
    lab.wait("empty")
    assert lab.output() == "up\nover\n"


def _shell_of(pid, folder):
    try:
        return str(folder).encode() + b"/runs/1.0/slurm_script" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_too_much_memory_kills_the_run_with_slurms_lines(lab):
    lab.run("exec python3 -c 'x = bytearray(200 << 20); import time; time.sleep(1000)'",
            nodes=[{"node": "node1", "address": "", "cpus": 1, "mem": 50, "gres": {}, "endpoint": ""}])
    ended = lab.wait("ended")["data"]
    lab.wait("empty")
    assert (ended["code"], ended["signal"]) == (0, 9)
    assert [line.split()[0] for line in lab.output().splitlines()] == ["<memory", "<job_memory", "<job_cancelled", "<memory"]
    assert lab.wait("ended")["data"]["why"] == "memory"


def test_an_allocation_lasts_until_it_is_ended(lab):
    lab.run("", kind="alloc")
    lab.order("end", why="cancel", uid=0)
    assert lab.wait("ended")["data"]["why"] == "cancel"
    lab.wait("empty")


def test_the_login_environment_is_taken_where_it_was_asked_for(lab, tmp_path):
    (tmp_path / ".profile").write_text("export FROM_LOGIN=yes\nexport BOTH=login\n")
    user = dict(lab.info()["user"], home=str(tmp_path))
    lab.run('echo "$FROM_LOGIN $BOTH"', environ=b"BOTH=job\0", user=user, spec={"get_user_env": True})
    lab.wait("empty")
    assert lab.output() == "yes job\n"


def test_a_run_with_a_lease_ends_itself_when_nobody_looks_after_it(lab):
    lab.hang_up()
    lab.connect()  # a new hello: from now on it counts
    lab.run("sleep 1000", lease=8)
    lab.send({"op": "ping", "n": 3})  # that an answer was heard is only known when somebody vouches for it
    assert lab.wait("ended")["data"]["why"] == "unattended"
    lab.wait("empty")


def test_a_run_with_a_lease_goes_on_while_the_broker_hears_of_it(lab):
    lab.hang_up()
    lab.connect()
    lab.run("until [ -e done ]; do sleep 0.05; done", lease=8)
    for number in range(1, 13):  # longer than the lease
        lab.send({"op": "ping", "n": number})
        lab.until(lambda number=number: any(header["op"] == "pong" and header["n"] == number for header, _ in lab.frames))
        lab.send({"op": "attend", "n": number})
        time.sleep(0.8)
    (lab.folder.parent / "done").touch()
    assert lab.wait("ended")["data"]["why"] == "exit"
    lab.wait("empty")


def test_a_run_with_a_lease_starts_on_a_connection_that_was_quiet_for_long(lab):
    time.sleep(6)  # longer than this run might be unattended
    lab.run("exit 3", lease=8)
    assert lab.wait("ended")["data"]["code"] == 3
    lab.wait("empty")


def test_an_order_to_start_that_is_older_than_the_lease_starts_nothing(lab):
    lab.prepare("touch started", lease=1)
    lab.wait("held")
    time.sleep(0.5)  # in which it lay in some buffer
    lab.order("start")
    lab.wait("empty")
    assert "started" not in lab.kinds() and not (lab.folder.parent / "started").exists()


def test_an_output_that_nobody_reads_does_not_keep_a_run_from_its_end(lab):
    """Opening a named pipe waits for the other end: in the script's process, not in the one that hears the orders."""
    pipe = lab.folder.parent / "pipe"
    os.mkfifo(pipe)
    lab.run("echo never", spec={"stdout": str(pipe)})
    lab.order("end", why="cancel", uid=0)
    assert lab.wait("ended")["data"]["why"] == "cancel"
    lab.wait("empty")


def test_named_pipes_as_input_and_output(lab):
    place = lab.folder.parent
    os.mkfifo(place / "in")
    os.mkfifo(place / "out")
    lab.run("read word; echo got $word; echo error >&2", spec={"stdin": str(place / "in"), "stdout": str(place / "out")})
    with open(place / "in", "w") as stream:
        stream.write("hello\n")
    assert (place / "out").read_text() == "got hello\nerror\n"
    assert lab.wait("ended")["data"]["code"] == 0


def test_a_job_that_stops_its_supervisor_can_be_ended(lab):
    lab.prepare("kill -STOP $PPID; echo stopped; while :; do sleep 0.1; done")
    lab.wait("held")
    lab.order("start")  # it may be stopped before it has told of its start
    wait_for(lambda: lab.output() == "stopped\n")
    lab.order("end", why="cancel", uid=0)
    assert lab.wait("ended")["data"]["why"] == "cancel"
    lab.wait("empty")


def test_a_job_that_stops_its_supervisor_does_not_escape_its_time_limit(lab):
    lab.prepare("kill -STOP $PPID; echo stopped; while :; do sleep 0.1; done", time_limit=1)
    lab.wait("held")
    lab.order("start")
    wait_for(lambda: lab.output() == "stopped\n")
    lab.order("end", why="time_limit", uid=None)  # the broker's backstop; the supervisor's own clock decides
    assert lab.wait("ended")["data"]["why"] == "time_limit"
    lab.wait("empty")


def test_the_brokers_clock_does_not_end_a_run_before_its_time(lab):
    lab.run("until [ -e done ]; do sleep 0.05; done", time_limit=600)
    lab.order("end", why="time_limit", uid=None)
    lab.settle()
    assert "ending" not in lab.kinds()
    (lab.folder.parent / "done").touch()
    assert lab.wait("ended")["data"]["why"] == "exit"
    lab.wait("empty")


def test_one_that_stops_it_again_and_again_is_cleared(lab):
    lab.prepare(
        "trap '' TERM; (while :; do kill -STOP $PPID; sleep 0.01; done) & echo stopping; exec sh -c 'trap : TERM; while :; do kill -STOP $PPID; done'"
    )
    lab.wait("held")
    lab.order("start")
    wait_for(lambda: lab.output() == "stopping\n")
    lab.order("end", why="cancel", uid=0)
    lab.wait("empty")
