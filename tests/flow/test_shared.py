"""The shared broker of a host: `sbrokerd` as root, two users and an operator. Everything happens in namespaces, with folders
of its own in place of /etc, /run, /var/lib, /var/log and /var/spool, so that the host is neither needed nor changed,
and all processes end with the test."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.flow.system import ROOT

CONFIG = """
cluster: shared
kill_wait: 2
partitions:
  - {name: debug, default: true, sites: [here], max_time: infinite}
  - {name: far, sites: [far], max_time: infinite}
sites:
  far: {provider: local, nodes: "far1", cpus: 4, memory: 4000M, shared_fs: [/nowhere]}
  here: {provider: local, nodes: "node[1-2]", cpus: 4, memory: 4000M}
"""
INSIDE = r"""
set -eu
mount -t tmpfs tmpfs "$T/over"
mkdir "$T/over/up" "$T/over/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$T/over/up,workdir=$T/over/work" /etc
for folder in /run /var/lib /var/log /var/spool; do mount -t tmpfs tmpfs "$folder"; done
mkdir -p /etc/sbroker "$T/home"
rm -f /etc/sbroker/*
cp "$T/config.yaml" /etc/sbroker/
userdel sbtest1 2>/dev/null || true; userdel sbtest2 2>/dev/null || true
useradd -u 64001 -m -d "$T/home/sbtest1" sbtest1
useradd -u 64002 -m -d "$T/home/sbtest2" sbtest2
export PATH=$T/code/bin:/usr/sbin:/usr/bin:/sbin:/bin
start() { "$T/code/bin/sbrokerd" >>"$T/log" 2>&1 & local n; for n in $(seq 300); do [ -S /run/sbroker/sbroker.sock ] && return; sleep 0.1; done; cat "$T/log"; exit 3; }
one() { setpriv --reuid 64001 --regid 64001 --clear-groups env HOME="$T/home/sbtest1" USER=sbtest1 bash -c "cd; umask 027; $1"; }
two() { setpriv --reuid 64002 --regid 64002 --clear-groups env HOME="$T/home/sbtest2" USER=sbtest2 bash -c "cd; $1"; }
start
job=$(one 'sbatch --parsable -o mine.out --wrap "id -un; umask; pwd; srun hostname; sleep 6; echo end"')
other=$(two 'sbatch --parsable -o /dev/null --wrap "sleep 300"')
one 'while [ "$(squeue -h -t R -o %i | wc -l)" != 2 ]; do sleep 0.1; done'
one "while [ \$(wc -l < mine.out) -lt 4 ]; do sleep 0.1; done"
echo "users: $(two 'squeue -h -o %u | sort | tr "\n" " "')"
echo "denied: $(two "scancel $job 2>&1; scontrol hold $job 2>&1; scontrol write batch_script $job - 2>&1; srun --jobid=$job --overlap true 2>&1" | tr '\n' '|')"
echo "closed: $(two "cat /var/spool/sbroker/node*/runs/$job.0/slurm_script /var/lib/sbroker/sbroker.db 2>/dev/null" | wc -c)"
node=$(squeue -h -j "$other" -o %N)
if [ -x /usr/sbin/sshd ]; then
    echo "login: $(two "sbroker ssh $node 'id -un; echo \$SLURM_JOB_ID'" 2>&1 | tr '\n' ' ')"
    two 'umask 077; sbroker ssh-config > cfg'
    echo "by ssh: $(two "ssh -F cfg -o BatchMode=yes $node 'id -un; echo \$SLURM_JOB_ID'" 2>&1 | tr '\n' ' ')"
    echo "another's login: $(one "sbroker ssh --jobid=$other $node true" 2>&1)"
    echo "operator's login: $(sbroker ssh --jobid="$other" "$node" id -un 2>&1)"
    echo "keys closed: $(one "cat $T/home/sbtest2/.local/state/sbroker/ssh/* /var/spool/sbroker/$node/runs/$other.0/login-*/* 2>/dev/null" | wc -c)"
fi
echo "root refused: $(sbatch --wrap true 2>&1)"
broker=$(sbroker status --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')
echo "broker runs as: $(stat -c %U /proc/$broker)"
kill -9 "$broker"
rm -f /run/sbroker/sbroker.sock
sleep 0.3
start
one "while [ -n \"\$(squeue -h -j $job -o %i 2>/dev/null)\" ]; do sleep 0.1; done"
echo "output: $(stat -c '%U %a' "$T/home/sbtest1/mine.out") $(tr '\n' ' ' < "$T/home/sbtest1/mine.out")"
echo "states: $(one "sacct -nXP -o state -j $job,$other" | tr '\n' ' ')"
two 'mkdir p; chmod 700 p; cd p; echo secret > f; sbatch -p far -W -o out --wrap "cat f; id -un; pwd; echo made > g; ls -ld ." >/dev/null'
echo "staged: $(two 'cat p/out | tr "\n" " "') $(stat -c '%U' "$T/home/sbtest2/p/out" "$T/home/sbtest2/p/g" | tr '\n' ' ')"
spool=/var/spool/sbroker
echo "seen by the other: $(one "cat $spool/far1/files/sbtest2/*/*/*/*/*/f $spool/far1/runs/*/*; ls $spool/far1/files $spool/_submit/files" 2>/dev/null | wc -c)"
echo "as a chain: $(two 'cd p; sbatch -p far -W -o chain --wrap "echo 1 > n; sbatch -p far -W -o chain2 --wrap \"cat n\"" >/dev/null; cat chain2')"
scancel "$other"
two "while [ -n \"\$(squeue -h -j $other -o %i)\" ]; do sleep 0.1; done"
echo "by an operator: $(two "sacct -nXP -o state -j $other")"
echo "agents replaced: $(grep -c "it is replaced" "$T/log" || true)"
"""


@pytest.fixture
def said(tmp_path: Path) -> dict[str, str]:
    if os.geteuid() != 0:
        pytest.skip("a shared broker is started by root")
    if not (ROOT / ".venv").exists():
        pytest.skip("the launchers of this checkout need its .venv: run `make test`")
    if subprocess.run(["unshare", "-m", "-p", "-f", "--mount-proc", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces are not to be had here")
    folder = Path("/tmp") / ("sbroker-shared-%d" % os.getpid())  # pytest's own folders are closed to other users
    folder.mkdir(mode=0o755)
    try:
        (folder / "over").mkdir()
        code = folder / "code"
        for name in ("bin", "sbroker", "slurm_compat"):
            shutil.copytree(ROOT / name, code / name)
        shutil.copy(ROOT / "sbroker_main.py", code)
        (code / ".venv").symlink_to((ROOT / ".venv").resolve())
        (folder / "config.yaml").write_text(CONFIG)
        done = subprocess.run(["unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child", "bash", "-c", INSIDE], env={"T": str(folder), "PATH": os.environ["PATH"]},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110, check=False)  # fmt: skip
        log = folder / "log"
        assert done.returncode == 0, done.stdout + done.stderr + (log.read_text()[-3000:] if log.exists() else "")
        return dict(line.split(": ", 1) if ": " in line else (line.rstrip(":"), "") for line in done.stdout.splitlines())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_host_shared_by_users(said: dict[str, str]) -> None:
    """Jobs run as their owners with their umask; nobody touches or reads another's; an operator may; a broker killed loses nothing."""
    assert said["users"].split() == ["sbtest1", "sbtest2"]
    denied = said["denied"].split("|")
    assert sum("Access/permission denied" in line for line in denied) >= 3, denied
    assert said["closed"] == "0"
    if "login" in said:  # where there is an sshd
        two, number = said["login"].split()
        assert (two, said["by ssh"].split(), said["operator's login"]) == ("sbtest2", ["sbtest2", number], "sbtest2")
        assert said["another's login"] == "sbroker: error: job %s is not there, or not yours" % number
        assert said["keys closed"] == "0"
    assert "jobs of root are not run here" in said["root refused"]
    assert said["broker runs as"] == "sbroker"
    owner, mode, *output = said["output"].split()
    assert (owner, mode) == ("sbtest1", "640")
    assert [output[0], output[1], output[-1]] == ["sbtest1", "0027", "end"]
    assert said["states"].split() == ["COMPLETED", "RUNNING"]
    assert said["by an operator"].startswith("CANCELLED")
    assert said["agents replaced"] == "0"  # the broker was started twice, by the same installation
    staged = said["staged"].split()
    assert staged[:2] == ["secret", "sbtest2"] and staged[2].startswith("/var/spool/sbroker/far1/files/sbtest2/"), staged
    assert staged[3].startswith("drwx------") and staged[-2:] == ["sbtest2", "sbtest2"], staged
    assert said["seen by the other"] == "0"
    assert said["as a chain"] == "1"
