"""When nobody answers: what the commands say, and how the personal broker is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from scripted import BIN, Server, client, exit_with, out

from slurm_compat import reach

AWAY = "Unable to contact slurm controller (connect failure)"

# the real commands' words and exit codes with their controller's port closed (22.05.8)
REAL = [
    ("squeue", [], "slurm_load_jobs error: " + AWAY, 1),
    ("squeue", ["-s"], "slurm_get_job_steps error: " + AWAY, 1),
    ("sinfo", ["-N"], "slurm_load_partitions: " + AWAY, 1),
    ("sbatch", ["--wrap=true"], "sbatch: error: Batch job submission failed: " + AWAY, 1),
    ("sbatch", ["--test-only", "--wrap=true"], "allocation failure: " + AWAY, 1),
    ("srun", ["true"], "srun: error: Unable to allocate resources: " + AWAY, 1),
    ("salloc", ["true"], "salloc: error: Job submit/allocate failed: " + AWAY, 1),
    ("scancel", ["1"], "scancel: error: Kill job error on job id 1: " + AWAY, 8),
    ("scancel", ["-u", "root"], "slurm_load_jobs error: " + AWAY, 1),
    ("scontrol", ["show", "job"], "slurm_load_jobs error: " + AWAY, 1),
    ("scontrol", ["show", "node"], "slurm_load_node error: " + AWAY, 1),
    ("scontrol", ["show", "partition"], "slurm_load_partitions error: " + AWAY, 1),
    ("scontrol", ["show", "step"], "slurm_get_job_steps error: " + AWAY, 1),
    ("scontrol", ["show", "config"], "slurm_load_ctl_conf error: " + AWAY, 1),
    ("scontrol", ["show", "reservation"], "slurm_load_reservations error: " + AWAY, 1),
    ("scontrol", ["show", "licenses"], "slurm_load_license error: " + AWAY, 1),
    ("scontrol", ["update", "nodename=node1", "state=drain"], "slurm_update error: " + AWAY, 1),
    ("scontrol", ["reconfigure"], "slurm_reconfigure error: " + AWAY, 1),
    ("sattach", ["1.0"], "sattach: error: Could not get job step info: " + AWAY, 1),
]


@pytest.mark.parametrize(("name", "args", "text", "code"), REAL)
def test_says_what_the_real_commands_say(name, args, text, code):
    assert reach.sentences(name, args) == (text, code)


@pytest.fixture
def installed(tmp_path):
    """An installation whose `sbrokerd` is a script of the test's."""
    shutil.copytree(BIN.parent / "slurm_compat", tmp_path / "slurm_compat")
    (tmp_path / "bin").mkdir()
    for name in ("squeue", "sbatch"):
        shutil.copy(BIN / name, tmp_path / "bin" / name)

    def install(text: str) -> Path:
        script = tmp_path / "bin" / "sbrokerd"
        script.write_text("#!%s\n%s" % (sys.executable, text))
        script.chmod(0o755)
        return tmp_path / "bin"

    return install


def run(folder, name, home, *args, **more):
    env = {"PATH": "/usr/bin:/bin", "HOME": str(home), **more}
    return subprocess.run([str(folder / name), *args], env=env, capture_output=True, timeout=60, stdin=subprocess.DEVNULL, check=False)


BROKER = """
import os, socket, sys
assert sys.argv[1:] == ["--personal"], sys.argv
assert os.getsid(0) == os.getpid()
assert not [key for key in os.environ if key.startswith("SLURM_")]
state = os.environ.get("SBROKER_HOME") or os.environ["HOME"] + "/.local/state/sbroker"
with open(state + "/starts", "a") as file:
    print(os.getpid(), file=file)
sock = socket.socket(socket.AF_UNIX)
sock.bind(state + "/sbroker.sock")
sock.listen(50)
sock.settimeout(20)
for _ in range(int(os.environ["CALLS"])):
    conn, _ = sock.accept()
    conn.recv(65536)
    conn.sendall(b"\\0\\0\\0\\x05X\\0\\0\\0\\x07")
    conn.close()
"""


@pytest.mark.parametrize("named", [True, False])
def test_starts_the_personal_broker(installed, tmp_path, named):
    folder = installed(BROKER)
    more = {"SBROKER_HOME": str(tmp_path / "mine" / "deep")} if named else {}
    if not named and os.path.exists("/etc/sbroker/config.yaml"):
        pytest.skip("this host has a shared broker")
    done = run(folder, "squeue", tmp_path, CALLS="1", SLURM_JOB_ID="1", **more)
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 7)
    state = tmp_path / "mine" / "deep" if named else tmp_path / ".local/state/sbroker"
    assert state.stat().st_mode & 0o777 == 0o700


STRANGER = """
import os, socket, sys
os.setuid(65534)
sock = socket.socket(socket.AF_UNIX)
sock.bind(sys.argv[1])
sock.listen(5)
sock.settimeout(20)
print("ready", flush=True)
conn, _ = sock.accept()
print(len(conn.recv(65536)), flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
@pytest.mark.parametrize("variable", ["SBROKER_HOME", "SBROKER_SOCKET"])
def test_a_stranger_at_the_socket_is_told_nothing(tmp_path, variable):
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own folders are closed to other users
    folder.chmod(0o777)
    path = folder / "sbroker.sock"
    stranger = subprocess.Popen([sys.executable, "-c", STRANGER, str(path)], stdout=subprocess.PIPE)
    try:
        assert stranger.stdout.readline() == b"ready\n"
        value = str(folder if variable == "SBROKER_HOME" else path)
        done = run(BIN, "squeue", tmp_path, **{variable: value})
        assert stranger.stdout.readline() == b"0\n"
    finally:
        stranger.kill()
        stranger.communicate()
        shutil.rmtree(folder)
    assert done.stderr.decode().startswith("squeue: error: The socket %s is not answered by you or by root but by the user with the id 65534" % path)
    assert variable in done.stderr.decode()
    assert (done.stdout, done.returncode) == (b"", 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_root_answers_for_everybody(tmp_path):
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        with Server(folder / "sbroker.sock", lambda conn: (conn.send(exit_with(5)), conn.drain())):
            folder.chmod(0o755)
            (folder / "sbroker.sock").chmod(0o666)
            code = subprocess.run([str(BIN / "squeue")], env={"PATH": "/usr/bin:/bin", "SBROKER_HOME": str(folder)}, user=65534, check=False).returncode
    finally:
        shutil.rmtree(folder)
    assert code == 5


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_no_broker_is_started_where_others_can_write(installed, tmp_path, mode):
    folder = installed(BROKER)
    home = tmp_path / "open"
    home.mkdir()
    home.chmod(mode)
    done = run(folder, "squeue", tmp_path, CALLS="1", SBROKER_HOME=str(home))
    assert done.stderr.decode() == (
        "squeue: error: The personal broker has no place: %s must be a folder of your own that others cannot write in\n" % home
    )
    assert (done.returncode, list(home.iterdir())) == (1, [])
    done = run(BIN, "sbrokerd", tmp_path, "--home", str(home))
    assert done.stderr.decode() == "sbrokerd: error: %s must be a folder of your own that others cannot write in\n" % home


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_no_broker_is_started_in_the_folder_of_another(installed, tmp_path):
    folder = installed(BROKER)
    home = tmp_path / "other"
    home.mkdir(mode=0o755)
    os.chown(home, 65534, 65534)
    done = run(folder, "squeue", tmp_path, CALLS="1", SBROKER_HOME=str(home))
    assert (done.returncode, list(home.iterdir())) == (1, [])


def test_many_commands_at_once_start_one_broker(installed, tmp_path):
    folder, count = installed(BROKER), 6
    env = {"PATH": "/usr/bin:/bin", "SBROKER_HOME": str(tmp_path / "h"), "CALLS": str(count + 1)}
    commands = [subprocess.Popen([str(folder / "squeue")], env=env, stdin=subprocess.DEVNULL) for _ in range(count)]
    assert [command.wait(60) for command in commands] == [7] * count
    assert len((tmp_path / "h" / "starts").read_text().split()) == 1
    assert run(folder, "squeue", tmp_path, **env).returncode == 7


SALLOC = """
import os, socket, sys
from sbroker.agent import wire
state = os.environ["SBROKER_HOME"]
first = not os.path.exists(state + "/ran")
open(state + "/ran", "w").close()
sock = socket.socket(socket.AF_UNIX)
try:
    os.unlink(state + "/sbroker.sock")
except FileNotFoundError:
    pass
sock.bind(state + "/sbroker.sock")
sock.listen(5)
conn, _ = sock.accept()
reader, replies = wire.CallReader(), []
conn.sendall(wire.call_frame(wire.SPAWN, b"\\0\\0\\0\\x01" + wire.fields(b"sh\\0-c\\0echo once; sleep 1; exit 3\\0", b"PATH=/usr/bin:/bin\\0")))
while len(replies) < (1 if first else 2):
    replies += [payload for op, payload in reader.feed(conn.recv(65536)) if op == wire.REPLY]
if not first:
    conn.sendall(wire.call_frame(wire.EXIT, b"\\0\\0\\0" + replies[-1][-2:-1]))
"""


def test_a_broker_that_dies_under_salloc_is_started_again(installed, tmp_path):
    folder = installed("import sys\nsys.path.insert(0, %r)\n%s" % (str(BIN.parent), SALLOC))
    shutil.copy(BIN / "squeue", folder / "salloc")
    done = run(folder, "salloc", tmp_path, SBROKER_HOME=str(tmp_path / "h"))
    assert (done.stdout, done.stderr, done.returncode) == (b"once\n", b"", 3)


def test_a_broker_that_does_not_start_is_quoted(installed, tmp_path):
    folder = installed("import sys\nsys.exit('config.yaml, line 3: kill_wait must be a number of seconds')\n")
    done = run(folder, "sbatch", tmp_path, "--wrap=true", SBROKER_HOME=str(tmp_path / "h"))
    text = b"sbatch: error: The personal broker does not start: config.yaml, line 3: kill_wait must be a number of seconds\n"
    assert (done.stdout, done.stderr, done.returncode) == (b"", text, 1)


def test_a_broker_that_is_killed_while_it_starts_is_started_again(installed, tmp_path):
    """Somebody's kill, or the kernel's for want of memory, says nothing of the next one."""
    kill = "import os\nstate = os.environ['SBROKER_HOME']\nwith open(state + '/kills', 'a') as file: file.write('x')\n"
    folder = installed(kill + "if os.path.getsize(state + '/kills') < 3: os.kill(os.getpid(), 9)\n" + BROKER)
    done = run(folder, "squeue", tmp_path, CALLS="1", SBROKER_HOME=str(tmp_path / "h"))
    assert (done.stderr, done.returncode, (tmp_path / "h" / "kills").read_text()) == (b"", 7, "xxx")


def test_one_that_somebody_else_has_started_is_waited_for(installed, tmp_path):
    """It has the lock and not yet the socket: ours ends at once."""
    folder = installed("import sys\nsys.exit('sbrokerd: error: another broker already runs here (x is locked)')\n")
    state = tmp_path / "h"
    state.mkdir()
    other = "import sys, time\ntime.sleep(0.7)\nsys.argv[1:] = ['--personal']\nimport os\nos.setsid()\n" + BROKER
    with subprocess.Popen([sys.executable, "-c", other], env={"SBROKER_HOME": str(state), "CALLS": "1"}) as process:
        done = run(folder, "squeue", tmp_path, SBROKER_HOME=str(state))
        process.kill()
    assert (done.stderr, done.returncode) == (b"", 7)


def test_a_log_that_cannot_be_written_is_told_in_a_sentence(installed, tmp_path):
    folder = installed("")
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "logs").write_text("")
    done = run(folder, "squeue", tmp_path, SBROKER_HOME=str(tmp_path / "h"))
    assert done.stderr == b"squeue: error: The personal broker has no log: %s/h/logs/sbrokerd.log: Not a directory\n" % str(tmp_path).encode()
    assert done.returncode == 1


def test_a_long_log_is_put_aside(installed, tmp_path):
    log = tmp_path / "h" / "logs" / "sbrokerd.log"
    log.parent.mkdir(parents=True)
    with open(log, "wb") as file:
        file.truncate(reach.LOG_SIZE + 1)
    folder = installed("import sys\nsys.exit('no')\n")
    assert run(folder, "sbatch", tmp_path, SBROKER_HOME=str(tmp_path / "h")).returncode == 1
    assert log.read_bytes() == b"no\n"
    assert log.with_suffix(".log.1").stat().st_size == reach.LOG_SIZE + 1


def test_a_home_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    done = subprocess.run([str(BIN / "sinfo")], env={"PATH": "/usr/bin:/bin", "SBROKER_HOME": str(tmp_path / "file" / "h")},
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"sinfo: error: The personal broker has no place: ")


def test_a_variable_that_outlived_its_job_is_passed_over(tmp_path):
    home = tmp_path / "h"
    home.mkdir()

    def script(conn):
        conn.send(out(b"home\n"), exit_with(0))
        conn.drain()

    with Server(home / "sbroker.sock", script):
        assert client(tmp_path / "gone", "squeue", env={"SBROKER_HOME": str(home)}).stdout == b"home\n"


def test_a_beside_socket_starts_nothing(tmp_path, monkeypatch):
    class Call:
        kind, path, name, args = "beside", b"x", "srun", ("true",)

        def connect(self, path):
            raise ConnectionRefusedError

        def alive(self):
            return False

        def pause(self, seconds):
            self.paused = seconds

        def leave(self):
            self.left = True

    class Ended(Exception):
        pass

    said = []
    monkeypatch.setattr(reach, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(reach, "say", said.append)
    monkeypatch.setattr(reach.posix, "_exit", lambda code: (_ for _ in ()).throw(Ended(code)))
    monkeypatch.setattr(reach, "personal", lambda call: pytest.fail("started something"))
    with pytest.raises(Ended):
        reach.first(Call(), ConnectionRefusedError())
    assert said == ["srun: error: Unable to allocate resources: " + AWAY]


def test_a_broker_that_hands_over_and_breaks_off_is_not_asked_in_a_spin(tmp_path, monkeypatch):
    pauses = []

    class Call:
        progress, deadline, delay, kind, path, name, args = False, None, 0.0, "shared", b"", "sattach", ("1.0",)
        pause = staticmethod(pauses.append)
        connect = staticmethod(lambda path: "connection")
        alive = staticmethod(lambda: False)
        leave = staticmethod(lambda: None)

    clock = iter([100.0, 101.0, 102.0, 103.0, 100.0 + reach.AGAIN_WAIT])
    monkeypatch.setattr(reach.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(reach.posix, "_exit", lambda code: sys.exit(code))
    call = Call()
    assert [reach.again(call) for _ in range(4)] == ["connection"] * 4
    assert pauses == [0.02, 0.04, 0.08]
    with pytest.raises(SystemExit):
        reach.again(call)
