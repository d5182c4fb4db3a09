"""Login shells, BASH_ENV and start files that set PATH anew: a job keeps the commands of its Slurm, and its script means what it says."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
from pathlib import Path

import pytest

from sbroker.agent import commands
from tests.flow.system import System
from tests.unit.scripted import Server, exit_with, out

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
cluster: system
kill_wait: 2
partitions:
  - {name: near, default: true, sites: [near]}
  - {name: far, sites: [far]}
sites:
  near: {provider: local, nodes: "near[1-2]", cpus: 4, memory: 4000M}
  far: {provider: local, nodes: "far[1-2]", cpus: 4, memory: 4000M, twin: false}
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    made = System(tmp_path_factory.mktemp("login"))
    (made.home / "config.yaml").write_text(CONFIG)
    # the start files of a user who sets PATH anew, with another Slurm in front
    other = made.work / "other"
    other.mkdir()
    (other / "srun").write_text("#!/bin/sh\necho another\n")
    (other / "srun").chmod(0o755)
    (made.work / ".bash_profile").write_text("export PATH=%s:/usr/bin:/bin\nFROM_PROFILE=1\n" % other)
    (made.work / ".bashrc").write_text("PATH=/usr/bin:/bin\n")
    (made.work / "my_env").write_text("PATH=%s:$PATH\nFROM_BASH_ENV=1\n" % other)
    try:
        yield made
    finally:
        made.close()


def job(system: System, partition: str, script: str, **env: str) -> str:
    (system.work / "job.sh").write_text(script)
    system.sh("rm -f out; sbatch -W -p %s --export=ALL,HOME -o out job.sh" % partition, **env)
    return (system.work / "out").read_text()


@pytest.mark.parametrize("partition", ["near", "far"])
@pytest.mark.parametrize("body", [
    "#!/bin/bash -l\nsrun echo $FROM_PROFILE\n",
    "#!/bin/bash --login\nexport FROM_PROFILE\nsrun printenv FROM_PROFILE\n",
    "#!/bin/bash -leu\nsrun echo 1\n",
    "#!/bin/bash\nbash -lc 'srun echo $FROM_PROFILE'\n",
    "#!/bin/bash\nPATH=/usr/bin:/bin bash -c 'srun echo 1'\n",
    "#!/bin/bash -l\npython3 -c 'import subprocess; subprocess.run([\"srun\", \"echo\", \"1\"])'\n",
    "#!/bin/bash\nsrun bash -lc 'squeue -h -o 1'\n",
    "#!/bin/bash\nexport BASH_ENV=$HOME/my_env\nsrun echo 1\n",
])  # fmt: skip
def test_srun_is_found(system, partition, body):
    assert job(system, partition, body) == "1\n"


def test_the_users_own_bash_env_is_read_before(system):
    said = job(system, "near", "#!/bin/bash\nsrun echo $FROM_BASH_ENV\n", BASH_ENV="$HOME/my_env")
    assert said == "1\n"
    said = job(system, "far", "#!/bin/bash\nsrun echo $FROM_BASH_ENV.\n", BASH_ENV="$HOME/my_env")
    assert said == ".\n"  # it stays on the submit host
    (system.work / "job.sh").write_text("#!/bin/bash\nsrun echo $FROM_BASH_ENV\n")
    system.sh("sbatch -W -p far -o out --export=ALL,BASH_ENV,HOME job.sh", BASH_ENV="$HOME/my_env")
    assert (system.work / "out").read_text() == "1\n"


@pytest.mark.parametrize("partition", ["near", "far"])
@pytest.mark.parametrize("shell", ["bash", "bash -l"])
def test_an_interactive_shell_finds_it(system, partition, shell):
    said = typed(system, ["srun", "-p", partition, "--export=ALL,HOME", "--pty", *shell.split()], b"squeue -h -o =%T=; exit\n")
    assert b"=RUNNING=" in said, said


def typed(system: System, argv: list[str], text: bytes) -> bytes:
    """What a command says that somebody at a terminal types `text` to."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(system.work)
        os.execvpe(argv[0], argv, system.env)
    said, told = b"", False
    while select.select([master], [], [], 30)[0]:
        try:
            data = os.read(master, 4096)
        except OSError:  # the last user of the terminal is gone
            break
        said += data
        if not told and said.rstrip().endswith((b"$", b"#")):  # it prompts
            os.write(master, text)
            told = True
    os.close(master)
    os.waitpid(pid, 0)
    return said


LOGIN = r"""#!/bin/bash -l
echo "0=$0" | sed 's,.*/,,'
echo "source=${BASH_SOURCE[0]##*/} same=$([[ ${BASH_SOURCE[0]} == "$0" ]] && echo yes)"
echo "args=$# $1 $2 line=$LINENO funcname=${FUNCNAME[*]} flags=$- login=$(shopt -q login_shell && echo yes)"
return 2>/dev/null; echo "return=$?"
caller; echo "caller=$?"
set -- a b c; echo "$*"
compgen -v | grep -i __sbroker
compgen -A function | grep -i sbroker
trap 'echo exit trap $?' EXIT
trap 'echo err trap' ERR
false
exit 7
"""


def test_a_login_script_means_what_it_says(system):
    """The same script under the same bash, without us."""
    (system.work / "job.sh").write_text(LOGIN)
    (system.work / "job.sh").chmod(0o755)
    plain = {"PATH": "/usr/bin:/bin", "HOME": str(system.work)}
    alone = subprocess.run(["./job.sh", "x y", "z"], cwd=system.work, env=plain, capture_output=True, text=True, check=False)
    done = system.sh("sbatch -W -o out job.sh 'x y' z")
    assert (done.returncode, (system.work / "out").read_text().replace("slurm_script", "job.sh")) == (7, alone.stdout)
    assert alone.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "dash", "bash -eu", "dash -eu", "bash --posix"])
@pytest.mark.parametrize(("path", "then"), [
    ("/usr/games", "/usr/games:{place}"), ("/usr/games:{other}", "{place}:/usr/games:{other}"), ("/x:{place}", "/x:{place}"), ("", "{place}"),
])  # fmt: skip
def test_the_start_file_in_any_shell(tmp_path, shell, path, then):
    if shutil.which(shell.split()[0]) is None:
        pytest.skip("no %s here" % shell.split()[0])
    other = tmp_path / "other"
    other.mkdir()
    (other / "srun").write_text("")
    (other / "srun").chmod(0o755)
    place = commands.install(str(tmp_path), None, str(ROOT / "bin"))
    words = {"place": place, "other": str(other)}
    line = "; . %s/%s; echo \"$PATH\"; set | grep ^__sbroker || :" % (place, commands.START_FILE)
    program = shutil.which(shell.split()[0])
    done = subprocess.run([program, *shell.split()[1:], "-c", 'PATH=%s; export PATH%s' % (path.format(**words), line.replace("grep", "/bin/grep"))],
                          env={}, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (then.format(**words) + "\n", "")


def test_root_on_a_node_elsewhere_serves_other_login_shells_once(tmp_path):
    commands.profile(str(tmp_path))  # no such folder: nothing
    (tmp_path / "profile.d").mkdir()
    commands.profile(str(tmp_path))
    made = tmp_path / "profile.d" / "zz-sbroker.sh"
    assert made.stat().st_mode & 0o777 == 0o644
    start = tmp_path / "start"
    start.write_text("echo healed\n")
    for env, said in (({}, ""), ({"SBROKER_SOCKET": "s", "SBROKER_ENV": str(start)}, "healed\n")):
        done = subprocess.run(["/bin/sh", "-euc", ". %s" % made], env=env, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr, done.returncode) == (said, "", 0)
    made.write_text("mine")
    commands.profile(str(tmp_path))
    assert made.read_text() == "mine"


def test_the_folder_of_names_is_everybodys_to_read(tmp_path):
    os.umask(0o077)
    try:
        from slurm_compat import node

        place = Path(commands.install(str(tmp_path), node))
    finally:
        os.umask(0o022)
    assert {path.name for path in place.iterdir()} >= {"srun", "squeue", "client.py", "__pycache__", commands.START_FILE}
    for path in [place, *place.rglob("*")]:
        if not path.is_symlink():
            assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() or path.name == "srun" else 0o644), path
    assert commands.install(str(tmp_path), node) == str(place)


def test_without_bash_the_commands_are_shs(tmp_path, monkeypatch):
    from slurm_compat import node

    monkeypatch.setattr(commands.site, "shell_path", lambda: "/bin/sh")
    place = Path(commands.install(str(tmp_path / "it's here"), node)) if (tmp_path / "it's here").mkdir() is None else None
    assert place is not None and (place / "squeue").read_text().startswith("#!/bin/sh\n")
    def answer(conn):
        conn.send(out(b"%s %s\n" % (conn.call["name"].encode(), conn.call["argv"][-1])), exit_with(3))
        conn.drain()

    with Server(tmp_path / "socket", answer):
        env = {"PATH": "/nowhere", "SBROKER_SOCKET": str(tmp_path / "socket")}
        done = subprocess.run([str(place / "scontrol"), "show", "it's"], env=env, capture_output=True, text=True, check=False, timeout=100)
    assert (done.stdout, done.stderr, done.returncode) == ("scontrol it's\n", "", 3)


def test_what_was_made_for_earlier_releases_goes(tmp_path):
    from slurm_compat import node

    place = commands.install(str(tmp_path), node)
    for name in ("bin-0123456789abcdef", "bin-0123456789abcde0", "bin-0123456789abcde1.new", "bin-mine", "runs"):
        (tmp_path / name / "below").mkdir(parents=True)
    commands.sweep(str(tmp_path), {place, str(tmp_path / "bin-0123456789abcde0")})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["bin-0123456789abcde0", "bin-mine", "runs", Path(place).name])
