"""A shared broker over a host that it logs into as a plain user: one submitter at a time, and the node is wiped between two."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.flow.system import ROOT

CONFIG = """
cluster: shared
kill_wait: 2
partitions:
  - {name: lab, default: true, sites: [lab], max_time: infinite}
sites:
  lab: {provider: ssh, hosts: "%s", user: ubuntu, become: none, identity_file: key, known_hosts: known_hosts}
"""
INSIDE = r"""
set -eu
mount -t tmpfs tmpfs "$T/over"
mkdir "$T/over/up" "$T/over/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$T/over/up,workdir=$T/over/work" /etc
mount --bind "$T/hosts" /etc/hosts
for folder in /run /var/lib /var/log /var/spool; do mount -t tmpfs tmpfs "$folder"; done
mkdir -p /etc/sbroker "$T/home"
rm -f /etc/sbroker/*
getent passwd sbroker >/dev/null || useradd -r sbroker
cp "$T/config.yaml" "$T/key" "$T/known_hosts" /etc/sbroker/
chown sbroker /etc/sbroker/key; chmod 600 /etc/sbroker/key
userdel sbtest1 2>/dev/null || true; userdel sbtest2 2>/dev/null || true
useradd -u 64001 -m -d "$T/home/sbtest1" sbtest1
useradd -u 64002 -m -d "$T/home/sbtest2" sbtest2
export PATH=$T/code/bin:/usr/sbin:/usr/bin:/sbin:/bin
one() { setpriv --reuid 64001 --regid 64001 --clear-groups env HOME="$T/home/sbtest1" USER=sbtest1 bash -c "mkdir -p ~/p; cd ~/p; $1"; }
two() { setpriv --reuid 64002 --regid 64002 --clear-groups env HOME="$T/home/sbtest2" USER=sbtest2 bash -c "mkdir -p ~/p; cd ~/p; $1"; }
"$T/code/bin/sbrokerd" >>"$T/log" 2>&1 &
for n in $(seq 300); do [ -S /run/sbroker/sbroker.sock ] && break; sleep 0.1; done
for n in $(seq 300); do [ "$(sinfo -h -o %T)" = idle ] && break; sleep 0.1; done
one 'echo secret > f; cat > job.sh' <<'END'
#!/bin/bash
cat f; id -un; echo $SLURM_JOB_USER; echo made > g
echo secret > /tmp/left; mkdir -m 0 /var/tmp/left
setsid sleep 12345 >/dev/null 2>&1 &
sleep 4
END
job=$(one 'sbatch --parsable -o out job.sh')
one "while [ \"\$(squeue -h -j $job -o %T)\" != RUNNING ]; do sleep 0.1; done"
other=$(two 'sbatch --parsable -o out --wrap "id -un; ls -d /tmp/left /var/tmp/left ~/.sbroker/*/*/files/sbtest1 2>/dev/null; pgrep -f \"sleep 1234[5]\"; echo end"')
echo "beside: $(two "sleep 1; squeue -h -j $other -o '%T %r'")"
two "while [ -n \"\$(squeue -h -j $other -o %i)\" ]; do sleep 0.1; done"
echo "first: $(one 'cat out g' | tr '\n' ' ')"
echo "owner: $(stat -c %U "$T/home/sbtest1/p/out" "$T/home/sbtest1/p/g" | tr '\n' ' ')"
echo "second: $(two 'cat out' | tr '\n' ' ')"
"""


def test_the_next_submitter_finds_nothing_of_the_one_before(hub: Any) -> None:
    name = hub.extra("tenants", bind=[])
    folder = Path("/tmp") / ("sbroker-tenants-%d" % os.getpid())  # pytest's own folders are closed to other users
    folder.mkdir(mode=0o755)
    try:
        (folder / "over").mkdir()
        for part in ("bin", "sbroker", "slurm_compat"):
            shutil.copytree(ROOT / part, folder / "code" / part)
        shutil.copy(ROOT / "sbroker_main.py", folder / "code")
        (folder / "code" / ".venv").symlink_to((ROOT / ".venv").resolve())
        (folder / "config.yaml").write_text(CONFIG % name)
        (folder / "known_hosts").write_text(hub.cloud.known_hosts())
        shutil.copy(hub.key, folder / "key")
        (folder / "hosts").write_text(subprocess.run(hub.cloud.inside(["cat", "/etc/hosts"]), capture_output=True, text=True, check=True).stdout)
        done = subprocess.run(hub.cloud.inside(["unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child", "bash", "-c", INSIDE]), capture_output=True, text=True,
                              env={"T": str(folder), "PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL, timeout=110, check=False)  # fmt: skip
        log = folder / "log"
        assert done.returncode == 0, done.stdout + done.stderr + (log.read_text()[-3000:] if log.exists() else "")
        said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
        assert said["beside"] == "PENDING Resources"
        assert said["first"].split() == ["secret", "ubuntu", "sbtest1", "made"]
        assert said["owner"].split() == ["sbtest1", "sbtest1"]
        assert said["second"].split() == ["ubuntu", "end"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
