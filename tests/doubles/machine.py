"""What one host of `cloudhosts` is made of: its description, its root file system, and how PID 1 becomes its sshd."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from tests.doubles import kernel

SSHD = "/usr/sbin/sshd"
UID = 1000  # of the user who can log in
PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
SSHD_CONFIG = """\
Port {port}
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
PidFile none
PrintMotd no
PrintLastLog no
MaxStartups 200:30:400
MaxSessions 100
AcceptEnv LANG LC_* SLURM_*
Subsystem sftp internal-sftp
"""
# A Python that says it is 3.5: enough for whoever asks for the version, and of no use to whoever does not
OLD_PYTHON = """#!/bin/sh
flags=
while [ $# -gt 0 ]; do
    case "$1" in
        -c) code=$2; shift 2; exec {real} $flags -c "import sys; sys.version_info = (3, 5, 2, 'final', 0); sys.hexversion = 0x030502f0; sys.version = '3.5.2'
$code" "$@" ;;
        -V|--version) echo "Python 3.5.2"; exit 0 ;;
        -*) flags="$flags $1"; shift ;;
        *) break ;;
    esac
done
echo "SyntaxError: invalid syntax" >&2
exit 1
"""


@dataclass
class Host:
    """One machine to be. `python`: "system", "none", "old" (says 3.5), "platform" (only /usr/libexec/platform-python), or the folder of
    an installation (its bin/python3 is the host's). `disk`: /home, /root, /var and /tmp outlive a power cut. `uptime`: seconds that it claims to
    have been up for. `bind`: "SOURCE[:TARGET[:rw]]" of this machine shown there. `users`: name → uid, with the same keys."""

    name: str
    ip: str = ""
    keys: list[str] = field(default_factory=list)
    user: str = "ubuntu"
    users: dict[str, int] = field(default_factory=dict)
    python: str = "system"
    sudo: bool = True
    bind: list[str] = field(default_factory=list)
    port: int = 22
    sshd: str = ""  # more lines of sshd_config
    uptime: int = 0
    disk: bool = False
    size: str = "512m"

    def people(self) -> dict[str, int]:
        return {self.user: UID, **self.users}


class Builder:
    """Runs as the future PID 1, in namespaces of its own."""

    def __init__(self, host: Host, state: Path, prefix: int, gateway: str) -> None:
        self.host, self.state, self.prefix, self.gateway = host, state, prefix, gateway
        self.root = state / "root"  # only a mount point: each host mounts its own here

    def become(self) -> None:
        """Does not return: the process is sshd then."""
        host = self.host
        kernel.sethostname(host.name)
        card = "02:00:" + ":".join("%02x" % int(byte) for byte in host.ip.split("."))  # the same after each start: nobody asks for it anew
        lines = ["link set lo up", "link set eth0 address " + card, "addr add %s/%d dev eth0" % (host.ip, self.prefix), "link set eth0 up", "route add default via " + self.gateway]
        subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)
        self.file_system()
        self.devices()
        self.settings()
        self.accounts()
        self.enter()

    def inside(self, path: str) -> str:
        return str(self.root / path.lstrip("/"))

    def show(self, source: str, target: str = "", writable: bool = False) -> None:
        """A file or folder of this machine, at the same place unless `target` says another."""
        there = self.inside(target or source)
        if os.path.isdir(source):
            os.makedirs(there, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(there), exist_ok=True)
            open(there, "a").close()
        kernel.mount(source, there, None, kernel.BIND)
        if not writable:
            kernel.mount(None, there, None, kernel.BIND | kernel.REMOUNT | kernel.RDONLY)

    def file_system(self) -> None:
        self.root.mkdir(exist_ok=True)
        kernel.mount(None, "/", None, kernel.REC | kernel.PRIVATE)
        kernel.mount("tmpfs", str(self.root), "tmpfs", 0, "size=%s,mode=755" % self.host.size)
        for top in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            if os.path.islink("/" + top):
                os.symlink(os.readlink("/" + top), self.inside(top))
            elif os.path.isdir("/" + top):
                self.show("/" + top)
        self.show("/usr")
        for folder in ("proc", "sys", "dev", "run/sshd", "mnt", "opt", "srv", "etc", ".lower"):
            os.makedirs(self.inside(folder))
        os.chmod(self.inside(".lower"), 0o700)
        if self.host.disk:
            disk = self.state / (self.host.name + ".disk")
            for folder in ("home", "root", "var", "tmp"):
                (disk / folder).mkdir(parents=True, exist_ok=True)
                self.show(str(disk / folder), folder, writable=True)
        for folder, mode in (("tmp", 0o1777), ("var/tmp", 0o1777), ("var/log", 0o755), ("var/lib", 0o755), ("home", 0o755), ("root", 0o700)):
            os.makedirs(self.inside(folder), exist_ok=True)
            os.chmod(self.inside(folder), mode)
        if not os.path.islink(self.inside("var/run")):
            os.symlink("/run", self.inside("var/run"))
        self.overlay("/etc")
        for entry in self.host.bind:
            source, _, rest = entry.partition(":")
            target, _, how = rest.partition(":")
            self.show(source, target, how == "rw")
        self.commands()

    def overlay(self, folder: str) -> str:
        """This machine's folder below, the host's own changes above it; where those lie."""
        above, work = (self.inside(".lower%s.%s" % (folder.replace("/", "."), kind)) for kind in ("up", "work"))
        os.makedirs(above)
        os.makedirs(work)
        kernel.mount("overlay", self.inside(folder), "overlay", 0, "lowerdir=%s,upperdir=%s,workdir=%s" % (folder, above, work))
        return above

    def commands(self) -> None:
        """Which Python and whether sudo: what is to be missing is taken away in a layer over /usr/bin."""
        host = self.host
        if host.python == "system" and host.sudo:
            return
        self.overlay("/usr/bin")
        gone = [] if host.sudo else ["sudo"]
        real = os.path.realpath("/usr/bin/python3")
        if host.python != "system":
            gone += [name for name in os.listdir("/usr/bin") if name.startswith("python")]
        for name in gone:
            if os.path.lexists(self.inside("usr/bin/" + name)):
                os.unlink(self.inside("usr/bin/" + name))
        if host.python == "old":
            self.show(real, "/opt/python/bin/python3")
            with open(self.inside("usr/bin/python3"), "w") as stream:
                stream.write(OLD_PYTHON.format(real="env PYTHONHOME=/usr /opt/python/bin/python3"))
            os.chmod(self.inside("usr/bin/python3"), 0o755)
        elif host.python == "platform":
            self.overlay("/usr/libexec")
            self.show(real, "/usr/libexec/platform-python")
        elif host.python not in ("system", "none"):
            self.show(host.python, "/opt/python")
            os.symlink("/opt/python/bin/python3", self.inside("usr/bin/python3"))

    def devices(self) -> None:
        kernel.mount("proc", self.inside("proc"), "proc", kernel.NOSUID | kernel.NODEV)
        kernel.mount("sysfs", self.inside("sys"), "sysfs", kernel.RDONLY)
        boot = self.inside(".lower/boot_id")  # a machine's own, and another one after each start
        Path(boot).write_text(str(uuid.uuid4()) + "\n")
        kernel.mount(boot, self.inside("proc/sys/kernel/random/boot_id"), None, kernel.BIND)
        numbers = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
        for name, number in numbers.items():
            os.mknod(self.inside("dev/" + name), 0o020666, os.makedev(*number))
            os.chmod(self.inside("dev/" + name), 0o666)
        for folder in ("pts", "shm"):
            os.makedirs(self.inside("dev/" + folder))
        kernel.mount("devpts", self.inside("dev/pts"), "devpts", 0, "newinstance,ptmxmode=0666,mode=620,gid=5")
        os.symlink("pts/ptmx", self.inside("dev/ptmx"))
        kernel.mount("tmpfs", self.inside("dev/shm"), "tmpfs", kernel.NOSUID | kernel.NODEV, "mode=1777")
        for number_, name in enumerate(("stdin", "stdout", "stderr")):
            os.symlink("/proc/self/fd/%d" % number_, self.inside("dev/" + name))
        os.symlink("/proc/self/fd", self.inside("dev/fd"))

    def settings(self) -> None:
        host = self.host
        Path(self.inside("etc/hostname")).write_text(host.name + "\n")
        kernel.mount(str(self.state / "etc_hosts"), self.inside("etc/hosts"), None, kernel.BIND)
        shutil.rmtree(self.inside("etc/sbroker"), ignore_errors=True)  # a broker of this machine is none of the host's
        os.makedirs(self.inside("etc/ssh"), exist_ok=True)
        for name in os.listdir(self.inside("etc/ssh")):
            if name.startswith("ssh_host_"):
                os.unlink(self.inside("etc/ssh/" + name))
        Path(self.inside("etc/ssh/sshd_config")).write_text(SSHD_CONFIG.format(port=host.port) + host.sshd)
        key = self.state / (host.name + ".hostkey")
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", str(key)], check=True, stdin=subprocess.DEVNULL)
        for suffix in ("", ".pub"):
            shutil.copy(str(key) + suffix, self.inside("etc/ssh/ssh_host_ed25519_key" + suffix))

    def accounts(self) -> None:
        """This machine's system accounts, and of people only those that the host is to have."""
        people = self.host.people()
        with open(self.inside("etc/passwd")) as stream:
            rows = [row for row in stream if row.count(":") == 6 and row.split(":")[0] not in ("root", "sshd", *people) and not 1000 <= int(row.split(":")[2]) < 65000]
        with open(self.inside("etc/passwd"), "w") as stream:
            stream.write("root:x:0:0:root:/root:/bin/bash\n" + "".join(rows) + "sshd:x:74:65534::/run/sshd:/usr/sbin/nologin\n")
            stream.writelines("%s:x:%d:%d::/home/%s:/bin/bash\n" % (name, uid, uid, name) for name, uid in people.items())
        with open(self.inside("etc/shadow"), "w") as stream:
            stream.writelines("%s:*:19000:0:99999:7:::\n" % name for name in ("root", *people))
        os.chmod(self.inside("etc/shadow"), 0o600)
        with open(self.inside("etc/group")) as stream:
            rows = [row for row in stream if row.count(":") == 3 and not 1000 <= int(row.split(":")[2]) < 65000]
        with open(self.inside("etc/group"), "w") as stream:
            stream.write("".join(rows))
            stream.writelines("%s:x:%d:\n" % (name, uid) for name, uid in people.items())
        if self.host.sudo and os.path.isdir(self.inside("etc/sudoers.d")):
            path = self.inside("etc/sudoers.d/90-cloud")
            Path(path).write_text("%s ALL=(ALL) NOPASSWD:ALL\n" % self.host.user)
            os.chmod(path, 0o440)
        for home, uid in (("root", 0), *(("home/" + name, uid) for name, uid in people.items())):
            os.makedirs(self.inside(home + "/.ssh"), exist_ok=True)
            Path(self.inside(home + "/.ssh/authorized_keys")).write_text("".join(key.strip() + "\n" for key in self.host.keys))
            for path in (home, home + "/.ssh", home + "/.ssh/authorized_keys"):
                os.chown(self.inside(path), uid, uid)
            os.chmod(self.inside(home), 0o700)
            os.chmod(self.inside(home + "/.ssh"), 0o700)

    def enter(self) -> None:
        os.makedirs(self.inside(".lower/old"))
        kernel.pivot_root(str(self.root), self.inside(".lower/old"))
        os.chdir("/")
        kernel.detach("/.lower/old")
        os.umask(0o022)
        if os.path.isdir("/opt/python/lib"):  # its own libraries, wherever it was built for
            os.makedirs("/etc/ld.so.conf.d", exist_ok=True)
            Path("/etc/ld.so.conf.d/python.conf").write_text("/opt/python/lib\n")
            subprocess.run(["/sbin/ldconfig"], check=False)
        # sshd reaps every child it is handed (waitpid(-1)), so it can be PID 1
        os.closerange(3, 1024)
        os.execve(SSHD, [SSHD, "-D", "-e"], PATH)
