"""Terminals, logins and files on nodes that are other hosts, reached by a real sshd."""

from __future__ import annotations

import hashlib
import os
import random
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.flow.terminal import PATIENCE, Terminal
from tests.flow.test_terminal import SCREENS, SLOW_READER, undisturbed


@pytest.fixture
def on(system: Any) -> Iterator[Any]:
    """`on(line)`: the shell line on a terminal, inside the hosts' hub."""
    opened: list[Terminal] = []
    for name, text in (("reader.py", SLOW_READER), ("screens.py", SCREENS)):
        (system.work / name).write_text(text)

    def start(line: str, **options: int) -> Terminal:
        opened.append(Terminal(system.argv("exec " + line), system.env, system.work, **options))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


def wait_for(true: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_shell_there_feels_local(system: Any, on: Any) -> None:
    terminal = on("srun -w n2 --pty bash --norc -i")
    terminal.type("stty size; echo $TERM $(hostname) u''p\n")
    terminal.until(r"30 100\r\n(.*\r)?xterm-256color n2 up")
    terminal.resize(41, 123)
    terminal.type("while test \"$(stty size)\" != '41 123'; do sleep 0.1; done; echo s''een\n")
    terminal.until("seen")
    terminal.type("sleep 1000\n")
    terminal.until("sleep 1000\r\n")
    terminal.type("\x1a")
    terminal.until(r"\[1\]\+ +Stopped +sleep 1000")
    terminal.type("fg\n")
    terminal.until(r"fg\r\n.*sleep 1000\r\n")
    terminal.type("\x03")
    terminal.type("echo a''gain; exit 5\n")
    terminal.until("again\r\n")
    assert terminal.end() == 5
    assert terminal.restored()


def test_a_megabyte_pasted(on: Any) -> None:
    data = random.Random(4).randbytes(1 << 20)
    terminal = on("srun -w n1 --pty python3 reader.py %d" % len(data))
    terminal.until("ready")
    terminal.type(data)
    assert terminal.until("sum ([0-9a-f]+)")[1] == hashlib.sha256(data).hexdigest()
    assert terminal.end() == 0
    assert terminal.restored()


def test_a_cut_under_a_full_screen_program(system: Any, on: Any) -> None:
    """The network goes away and comes back, the agent dies: what the terminal gets is what the program wrote."""
    terminal = on("srun -w n3 --pty sh -c 'stty -echo -icanon; exec python3 screens.py'")
    undisturbed(terminal, lambda: system.kill_agent("n3"), lambda: blink(system, "n3"), system.kill_broker)


def blink(system: Any, node: str) -> None:
    system.cloud.cut(node)
    time.sleep(1)
    system.cloud.heal(node)


def test_ssh_scp_and_sbroker_ssh(system: Any) -> None:
    """As the login's user there, inside the job, with nothing but the link that is there."""
    job = system.sh("salloc -Q --no-shell -N2 -w n[1-2]; squeue -h -o %i -w n2").stdout.strip()
    (system.work / "cfg").write_text(system.ok("sbroker ssh-config"))
    assert "User ubuntu" in (system.work / "cfg").read_text()
    ssh = "ssh -F cfg -o BatchMode=yes "
    done = system.sh(ssh + "n2 'hostname; id -un; echo $SLURM_JOB_ID $SLURM_NODEID; exit 7'")
    assert (done.stdout, done.returncode) == ("n2\nubuntu\n%s 1\n" % job, 7), done.stderr
    data = os.urandom(2 << 20)
    (system.work / "up").write_bytes(data)
    system.ok("scp -q -F cfg up n2:/tmp/there && scp -q -F cfg n2:/tmp/there back")
    assert (system.work / "back").read_bytes() == data
    assert system.ok("sbroker ssh n1 'hostname; echo $SLURMD_NODENAME'") == "n1\nn1\n"
    assert "no running job of yours on n3" in system.sh(ssh + "n3 true").stderr
    system.ok("scancel " + job)
    system.drain()


def test_into_a_running_job(system: Any, on: Any) -> None:
    """A shell beside its step; sattach; a program broadcast; hosts named one by one."""
    job = system.ok("sbatch --parsable -N2 -w n[1-2] -o /dev/null --wrap 'srun -N2 sh -c \"echo from \\$SLURM_NODEID; sleep 600\"'").strip()
    system.until("squeue -h -s -o %%i -j %s | grep -c '[.]0$'" % job, "1")
    terminal = on("srun --jobid=%s --overlap -N1 -n1 -w n2 --pty bash --norc -i" % job)
    terminal.type("echo $(hostname) $SLURM_JOB_ID u''p; exit\n")
    terminal.until("n2 %s up" % job)
    assert terminal.end() == 0
    system.ok("sbcast --jobid=%s -f reader.py /tmp/sent" % job)
    assert [system.on(node, "wc -c < /tmp/sent").strip() for node in ("n1", "n2")] == [str(len(SLOW_READER))] * 2
    assert system.ok("srun --jobid=%s --overlap -n2 --bcast=/tmp/mine /bin/hostname | sort" % job) == "n1\nn2\n"
    (system.work / "hosts").write_text("n2\nn1\nn2\n")
    assert system.ok("srun --jobid=%s --overlap -l -n3 -m arbitrary hostname | sort" % job, SLURM_HOSTFILE="hosts") == "0: n2\n1: n1\n2: n2\n"
    system.ok("scancel " + job)
    system.drain()


def test_salloc_stays_here_and_its_steps_go_there(system: Any, on: Any) -> None:
    terminal = on("salloc -N2 -w n[3-4] bash --norc -i")
    here = system.ok("hostname").strip()
    terminal.type("echo $(hostname) $SLURM_JOB_NODELIST l''ocal; srun hostname < /dev/null | sort | tr '\\n' ' '; cd ..; srun -n1 -N1 pwd < /dev/null\n")
    terminal.until("%s n\\[3-4\\] local" % re.escape(here))
    terminal.until("n3 n4")
    terminal.until(re.escape(str(system.work.parent)) + "\r\n")
    terminal.type("exit\n")
    assert terminal.end() == 0
    system.drain()


def test_the_line_while_a_node_is_far(system: Any, on: Any) -> None:
    system.cloud.cut("n4")
    terminal = on("srun -w n4 hostname")
    terminal.until("srun: node n4: [a-z]")
    system.cloud.heal("n4")
    terminal.until("\r\x1b\\[Kn4\r\n")
    assert terminal.end() == 0


def test_a_shell_in_ones_own_folder_without_a_shared_file_system(make_system: Any) -> None:
    """salloc stays here, its steps find its folder there; the line says what is brought; what they change comes back."""
    system = make_system("n[1-2]")
    system.idle("n[1-2]")
    (system.work / "some").mkdir()
    (system.work / "some" / "large").write_bytes(os.urandom(6 << 20))
    system.cloud.slow("n1", "8mbit")
    terminal = Terminal(system.argv("cd some; exec srun -w n1 --pty bash --norc -i"), system.env, system.work)
    try:
        terminal.until(r"srun: node n1: staging \d of 6 MB \.\.\.")
        terminal.type("pwd; wc -c < large; echo made there > new; exit\n")
        terminal.until(re.escape(str(system.work / "some")) + "\r\n(.*\r)?6291456\r\n")
        assert terminal.end() == 0
        assert b"staging" not in bytes(terminal.shown).rpartition(b"\r\x1b[K")[2]
    finally:
        terminal.close()
        system.cloud.slow("n1")
    system.drain()
    assert (system.work / "some" / "new").read_text() == "made there\n"
    (system.work / "some" / "tell").write_text("hostname; basename $PWD; cat new\n")
    done = system.sh("cd some && salloc -Q -N2 -w n[1-2] bash -c 'hostname; srun -l sh tell'")
    here = system.ok("hostname").strip()
    assert sorted(done.stdout.splitlines()) == sorted(
        [here, "0: n1", "0: some", "0: made there", "1: n2", "1: some", "1: made there"]
    ), done.stderr


def test_a_program_that_is_only_here_is_broadcast(make_system: Any) -> None:
    """Mode and times are this host's file's, the program is looked for in this host's PATH, and hooks of srun run here."""
    system = make_system("n[1-2]")
    system.idle("n[1-2]")
    tools = system.home / "tools"
    tools.mkdir()
    (tools / "onlyhere").write_text("#!/bin/sh\necho tool on $(hostname)\n")
    (tools / "onlyhere").chmod(0o755)
    (tools / "hook").write_text("#!/bin/sh\ntouch %s/hooked\n" % system.work)
    (tools / "hook").chmod(0o755)
    path = "PATH=%s:$PATH " % tools
    assert system.ok(path + "srun -N2 --bcast=/tmp/tool onlyhere | sort") == "tool on n1\ntool on n2\n"
    assert system.ok(path + "srun -N1 --prolog=%s/hook true; ls hooked" % tools) == "hooked\n"
    done = system.sh(path + "srun -N2 --bcast=/tmp/other nosuchtool")
    assert (done.stderr, done.returncode) == ("srun: fatal: Can not execute nosuchtool\n", 1)
    done = system.sh(path + "srun -N1 -w n1 --bcast=/nosuch/dir/x onlyhere")
    assert done.stderr.splitlines() == [
        "srun: error: REQUEST_FILE_BCAST(n1): No such file or directory",
        "srun: fatal: Failed to broadcast '%s/onlyhere'. Step launch aborted." % tools,
    ]
    job = system.sh("salloc -Q --no-shell -N2; squeue -h -o %i").stdout.strip()
    system.ok("touch -d 2001-02-03 %s/onlyhere; sbcast -p --jobid=%s %s/onlyhere /tmp/dated" % (tools, job, tools))
    assert system.on("n2", "stat -c '%a %y' /tmp/dated").startswith("755 2001-02-03")
    assert system.sh("sbcast --jobid=%s %s /tmp/sent2" % (job, tools)).stderr == "sbcast: error: Can't mmap file `%s`, No such device.\n" % tools
    system.ok("scancel " + job)
