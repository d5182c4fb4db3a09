"""cloudhosts: many small "machines" on one Linux box, each with a real sshd.

Each host is one OpenSSH server running as PID 1 of its own network, PID, mount, UTS and IPC namespaces. It has its own address on a bridge,
hostname, boot id, host key and root file system (a tmpfs: /home, /root, /tmp, /var, /etc are private; /usr is the real one, read-only).
Killing its PID 1 is pulling the plug: every process, mount and link goes with it.

The bridge lives in a "hub" that has no way out, so what runs inside it (`enter`) reaches the hosts, by name too, and no other network.
Needs root, iproute2, util-linux and openssh-server; no daemon.

  python -m tests.doubles.cloudhosts up -n 8 --key ~/.ssh/id_ed25519.pub      start 8 hosts
  … add --host n9 --ip 10.200.0.30 --key K     one more
  … list | ssh-config | known-hosts            what is there
  … exec NAME -- CMD | enter -- CMD            on a host | inside the hub
  … cut NAME / heal NAME                       unplug, replug the link
  … freeze NAME / thaw NAME                    stop all its processes
  … kill NAME / boot NAME / down               power off one, power it on again / all off, and gone
  … slow NAME --rate 10mbit                    limit what is sent to it
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.doubles import kernel
from tests.doubles.kernel import starttime
from tests.doubles.machine import SSHD, Builder, Host

BASE = Path("/run/sbroker-doubles")
NEEDED = {"ip": "iproute2", "nsenter": "util-linux", "ssh-keygen": "openssh-client", SSHD: "openssh-server"}


def missing() -> str:
    """Why no hosts can be made here, "" if they can."""
    if os.geteuid() != 0:
        return "needs root: hosts are made of namespaces"
    lacking = sorted({package for program, package in NEEDED.items() if not shutil.which(program)})
    if lacking:
        return "not installed: " + ", ".join(lacking)
    # a container's root may have no right to namespaces or mounts
    done = subprocess.run(["unshare", "-mnpiu", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True, check=False)
    return "no namespaces: " + done.stderr.strip() if done.returncode else ""


class Cloud:
    """A set of hosts and their hub, kept in folder `state` (safe across processes). The hub's namespaces live as long as its holder
    process; `owner` is the pid whose end makes the whole set garbage (0: nobody's, it stays)."""

    def __init__(self, name: str = "ch", state: Path | None = None, subnet: str = "10.200.0.0/16", owner: int = 0) -> None:
        self.name, self.state = name, Path(state or BASE / name)
        self.net = ipaddress.ip_network(subnet)
        self.gateway = str(self.net[1])
        self.state.mkdir(parents=True, exist_ok=True)
        self._hub_file = self.state / "hub.json"
        (self.state / "etc_hosts").touch()
        if owner:
            (self.state / "owner").write_text("%d %s" % (owner, starttime(owner)))

    # ---- records

    @contextlib.contextmanager
    def _records(self) -> Iterator[dict[str, dict[str, Any]]]:
        with open(self.state / "lock", "w") as lock, contextlib.ExitStack() as stack:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # a process that another thread forks meanwhile has the descriptor, too: closing it here would not give the lock back
            stack.callback(fcntl.flock, lock, fcntl.LOCK_UN)
            path = self.state / "hosts.json"
            records: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
            yield records
            path.with_suffix(".new").write_text(json.dumps(records, indent=1))
            os.replace(path.with_suffix(".new"), path)
            lines = ["127.0.0.1 localhost\n%s hub\n" % self.gateway, *("%s %s\n" % (record["host"]["ip"], name) for name, record in records.items())]
            if (self.state / "etc_hosts").read_text() != "".join(lines):
                (self.state / "etc_hosts").write_text("".join(lines))  # in place: hosts and hub have this inode mounted

    def hosts(self) -> dict[str, dict[str, Any]]:
        """Name → {host: the fields of Host, pid, start, link, alive}."""
        with self._records() as records:
            return {name: dict(record, alive=_lives(record)) for name, record in records.items()}

    def host(self, name: str) -> Host:
        return Host(**self.hosts()[name]["host"])

    def known_hosts(self) -> str:
        """Lines for a known_hosts file: the hosts' own keys, for their names and addresses."""
        lines = []
        for name, record in self.hosts().items():
            host = Host(**record["host"])
            key = " ".join((self.state / (name + ".hostkey.pub")).read_text().split()[:2])
            names = (name, host.ip) if host.port == 22 else ("[%s]:%d" % (name, host.port), "[%s]:%d" % (host.ip, host.port))
            lines.append("%s %s\n" % (",".join(names), key))
        return "".join(lines)

    # ---- hub

    def _ip(self, lines: Iterable[str]) -> None:
        subprocess.run([*self.prefix(), "ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)

    def _hub(self) -> int:
        """Pid of the holder of the hub's network and mount namespaces; it is started if there is none."""
        with self._records():
            found = json.loads(self._hub_file.read_text()) if self._hub_file.exists() else {}
            if found and _lives(found):
                return int(found["pid"])
            ready, tell = os.pipe()
            pid = os.fork()
            if pid == 0:
                self._hold(tell)
            os.close(tell)
            said = os.read(ready, 1000)
            os.close(ready)
            if not said.isdigit():
                raise OSError("no hub: %s" % said.decode())
            os.waitpid(pid, 0)
            self._hub_file.write_text(json.dumps({"pid": int(said), "start": starttime(int(said))}))
            return int(said)

    def _hold(self, tell: int) -> None:
        try:
            os.setsid()
            kernel.unshare(kernel.NEWNET | kernel.NEWNS)
            kernel.mount(None, "/", None, kernel.REC | kernel.SLAVE)
            kernel.mount(str(self.state / "etc_hosts"), "/etc/hosts", None, kernel.BIND)
            kernel.mount("sysfs", "/sys", "sysfs", kernel.RDONLY)
            lines = ["link set lo up", "link add br0 type bridge", "link set br0 up", "addr add %s/%d dev br0" % (self.gateway, self.net.prefixlen)]
            subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)
            pid = os.fork()
            if pid:
                os.write(tell, b"%d" % pid)
                os._exit(0)
            null = os.open("/dev/null", os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(null, number)
            os.closerange(3, 1024)
            os.execvp("sleep", ["sleep", "infinity"])
        except BaseException as error:
            os.write(tell, repr(error).encode())
        finally:
            os._exit(1)

    def prefix(self) -> list[str]:
        """What to put before a command for it to run inside the hub, in the folder /; see `inside`."""
        return ["nsenter", "-t", str(self._hub()), "-n", "-m", "--"]

    def inside(self, argv: Iterable[str], folder: str | os.PathLike[str] = ".") -> list[str]:
        """The command inside the hub, in a folder of this machine."""
        return [*self.prefix(), "env", "-C", os.path.abspath(folder), *argv]

    # ---- hosts

    def add(self, hosts: Iterable[Host], wait: float = 60.0) -> dict[str, str]:
        """Start new hosts; name → address. TimeoutError if they do not answer within `wait` seconds (0: not waited for)."""
        hosts = list(hosts)
        self._hub()
        with self._records() as records:
            used = {record["host"]["ip"] for record in records.values()} | {self.gateway}
            free = (str(address) for address in self.net.hosts() if str(address) not in used)
            for host in hosts:
                if host.name in records:
                    raise ValueError("host %s exists" % host.name)
                host.ip = host.ip or next(free)
                used.add(host.ip)
                records[host.name] = {"host": dataclasses.asdict(host), "pid": 0, "start": None, "link": ""}
        self._start(hosts)
        if wait:
            self.wait(hosts, wait)
        return {host.name: host.ip for host in hosts}

    def boot(self, *names: str, wait: float = 60.0) -> None:
        """Power on again what was killed: another boot id; empty, unless it has a disk."""
        hosts = [self.host(name) for name in names]
        self._start(hosts)
        if wait:
            self.wait(hosts, wait)

    def _start(self, hosts: list[Host]) -> None:
        started = [self._spawn(host) for host in hosts]
        number = time.time_ns() // 1000000 % 10**9
        lines = []
        for index, (pid, _go) in enumerate(started):
            link = "v%d" % ((number + index) % 10**9)
            lines += ["link add %s type veth peer name eth0 netns %d" % (link, pid), "link set %s master br0 up" % link]
        self._ip(lines)
        with self._records() as records:
            for index, (host, (pid, go)) in enumerate(zip(hosts, started)):
                os.write(go, b"g")
                os.close(go)
                records[host.name].update(pid=pid, start=starttime(pid), link="v%d" % ((number + index) % 10**9))

    def wait(self, hosts: Iterable[Host], timeout: float) -> None:
        """Until every one sends an SSH banner (asked from inside the hub)."""
        hub = self._hub()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                kernel.setns("/proc/%d/ns/net" % hub, kernel.NEWNET)
                end, left = time.monotonic() + timeout, list(hosts)
                while left and time.monotonic() < end:
                    left = [host for host in left if not _banner(host)]
                    time.sleep(0.02 if left else 0)
                code = 1 if left else 0
            finally:
                os._exit(code)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            raise TimeoutError("not every host answers: see the logs in %s" % self.state)

    def _spawn(self, host: Host) -> tuple[int, int]:
        """Fork the host's PID 1, which waits for its link; (pid, descriptor that takes the go)."""
        tell_r, tell_w = os.pipe()
        go_r, go_w = os.pipe()
        log = os.open(self.log(host.name), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        outer = os.fork()
        if outer == 0:
            try:
                os.close(tell_r)
                os.close(go_w)
                os.setsid()
                flags = kernel.NEWNS | kernel.NEWUTS | kernel.NEWIPC | kernel.NEWPID | kernel.NEWNET
                kernel.unshare(flags | (kernel.NEWTIME if host.uptime else 0))
                if host.uptime:
                    Path("/proc/self/timens_offsets").write_text("boottime %d 0\nmonotonic %d 0\n" % (host.uptime, host.uptime))
                inner = os.fork()
                if inner:
                    os.write(tell_w, b"%d" % inner)
                    os._exit(0)
                os.close(tell_w)
                null = os.open("/dev/null", os.O_RDONLY)
                for number, handle in enumerate((null, log, log)):
                    os.dup2(handle, number)
                if os.read(go_r, 1) == b"g":
                    Builder(host, self.state, self.net.prefixlen, self.gateway).become()
            except BaseException as error:
                os.write(log, b"cloudhosts: %r\n" % error)
            finally:
                os._exit(1)
        for handle in (tell_w, go_r, log):
            os.close(handle)
        pid = int(os.read(tell_r, 20) or b"0")
        os.close(tell_r)
        os.waitpid(outer, 0)
        if not pid:
            raise OSError("host %s did not start: see %s" % (host.name, self.log(host.name)))
        return pid, go_w

    def log(self, name: str) -> Path:
        """What its sshd said."""
        return self.state / (name + ".log")

    def on(self, name: str, argv: Iterable[str]) -> list[str]:
        """The command on that host, as root, without SSH."""
        return ["nsenter", "-t", str(self.hosts()[name]["pid"]), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "--", *argv]

    def exec(self, name: str, argv: Iterable[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        return subprocess.run(self.on(name, argv), check=False, **options)

    # ---- faults

    def cut(self, name: str) -> None:
        self._ip(["link set %s down" % self.hosts()[name]["link"]])

    def heal(self, name: str) -> None:
        self._ip(["link set %s up" % self.hosts()[name]["link"]])

    def slow(self, name: str, rate: str = "") -> None:
        """At most `rate` (as tc writes it: 10mbit) from the hub to the host; "": no limit. For delays see `proxy`: not every kernel has netem."""
        link = self.hosts()[name]["link"]
        words = ["replace", "dev", link, "root", "tbf", "rate", rate, "burst", "64kb", "latency", "200ms"] if rate else ["del", "dev", link, "root"]
        subprocess.run([*self.prefix(), "tc", "qdisc", *words], check=bool(rate))

    def _members(self, name: str) -> set[int]:
        space = os.readlink("/proc/%d/ns/pid" % self.hosts()[name]["pid"])
        found = set()
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    if os.readlink("/proc/%s/ns/pid" % entry) == space:
                        found.add(int(entry))
        return found

    def freeze(self, name: str, signum: int = signal.SIGSTOP) -> None:
        done: set[int] = set()
        while members := self._members(name) - done:  # one may have forked just before it was stopped
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signum)
            done |= members

    def thaw(self, name: str) -> None:
        self.freeze(name, signal.SIGCONT)

    def kill(self, *names: str) -> int:
        """Power off; it may `boot` again. How many were on."""
        gone = [record for name, record in self.hosts().items() if name in names and record["alive"]]
        for record in gone:
            os.kill(record["pid"], signal.SIGKILL)
        end = time.monotonic() + 10
        while any(_lives(record) for record in gone) and time.monotonic() < end:
            time.sleep(0.005)
        return len(gone)

    def remove(self, name: str) -> None:
        """Power off, and forget that it ever was."""
        self.kill(name)
        with self._records() as records:
            del records[name]
        shutil.rmtree(self.state / (name + ".disk"), ignore_errors=True)

    def down(self) -> int:
        """All off, and nothing left of them; how many were on."""
        count = self.kill(*self.hosts())
        found = json.loads(self._hub_file.read_text()) if self._hub_file.exists() else {}
        if found and _lives(found):
            os.kill(found["pid"], signal.SIGKILL)
        shutil.rmtree(self.state, ignore_errors=True)
        return count


def _lives(record: dict[str, Any]) -> bool:
    """Never a recycled pid."""
    return record["start"] is not None and starttime(record["pid"]) == record["start"]


def _banner(host: Host) -> bool:
    try:
        with socket.create_connection((host.ip, host.port), 1) as connection:
            connection.settimeout(2)
            return connection.recv(4).startswith(b"SSH")
    except OSError:
        return False


def sweep(base: Path = BASE) -> int:
    """Take down sets whose owner is gone (a test run that was killed); how many."""
    count = 0
    for path in base.glob("*/owner"):
        pid, _, start = path.read_text().partition(" ")
        if str(starttime(int(pid or 0))) != start:
            Cloud(path.parent.name, path.parent).down()
            count += 1
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="ch", help="of this set of hosts")
    parser.add_argument("--state", type=Path, help="folder that keeps its state (default: %s/NAME)" % BASE)
    parser.add_argument("--subnet", default="10.200.0.0/16")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up")
    up.add_argument("-n", type=int, default=1)
    up.add_argument("--prefix", default="node")
    add = commands.add_parser("add")
    add.add_argument("--host", required=True)
    add.add_argument("--ip", default="")
    for command in (up, add):
        command.add_argument("--key", action="append", default=[], help="public key file")
        command.add_argument("--no-wait", action="store_true")
        command.add_argument("--user", default="ubuntu")
        command.add_argument("--users", action="append", default=[], metavar="NAME:UID", help="more who can log in")
        command.add_argument("--bind", action="append", default=[], help="SRC[:DST[:rw]] of this machine, shown in the host")
        command.add_argument("--python", default="system", help="system, none, old, platform, or the folder of an installation")
        command.add_argument("--no-sudo", action="store_true")
        command.add_argument("--disk", action="store_true", help="/home, /root, /var and /tmp outlive a power cut")
        command.add_argument("--port", type=int, default=22)
        command.add_argument("--uptime", type=int, default=0)
    for name in ("list", "down", "ssh-config", "known-hosts"):
        commands.add_parser(name)
    for name in ("cut", "heal", "freeze", "thaw", "kill", "boot", "slow"):
        fault = commands.add_parser(name)
        fault.add_argument("host", nargs="+")
        if name == "slow":
            fault.add_argument("--rate", default="", help="as tc writes it; missing: no limit")
    execute = commands.add_parser("exec")
    execute.add_argument("host")
    for command in (execute, commands.add_parser("enter")):
        command.add_argument("argv", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    cloud = Cloud(options.name, options.state, options.subnet)
    argv = list(getattr(options, "argv", []))
    argv = argv[1:] if argv[:1] == ["--"] else argv
    if options.command in ("up", "add"):
        begin = time.monotonic()
        names = [options.host] if options.command == "add" else ["%s%d" % (options.prefix, index) for index in range(options.n)]
        users = {name: int(uid) for name, _, uid in (word.partition(":") for word in options.users)}
        keys = [Path(path).read_text() for path in options.key]
        hosts = [Host(name, getattr(options, "ip", ""), keys, options.user, users, options.python, not options.no_sudo, options.bind, options.port,
                      uptime=options.uptime, disk=options.disk) for name in names]  # fmt: skip
        for name, ip in cloud.add(hosts, 0 if options.no_wait else 60).items():
            print(name, ip)
        print("%d hosts in %.2f s" % (len(hosts), time.monotonic() - begin), file=sys.stderr)
    elif options.command == "list":
        for name, record in cloud.hosts().items():
            print(name, record["host"]["ip"], record["pid"], "alive" if record["alive"] else "dead")
    elif options.command == "ssh-config":
        for name, record in cloud.hosts().items():
            print("Host %s\n  HostName %s\n  Port %d\n  User %s" % (name, record["host"]["ip"], record["host"]["port"], record["host"]["user"]))
    elif options.command == "known-hosts":
        print(cloud.known_hosts(), end="")
    elif options.command == "exec":
        return cloud.exec(options.host, argv or ["bash"]).returncode
    elif options.command == "enter":
        command_line = cloud.inside(argv or ["bash"], os.getcwd())
        os.execvp(command_line[0], command_line)
    elif options.command == "down":
        print("%d hosts stopped" % cloud.down(), file=sys.stderr)
    elif options.command == "kill":
        cloud.kill(*options.host)
    elif options.command == "boot":
        cloud.boot(*options.host)
    else:
        for name in options.host:
            cloud.slow(name, options.rate) if options.command == "slow" else getattr(cloud, options.command)(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
