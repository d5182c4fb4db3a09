"""What a login to a node needs, what is refused, and how that is said, by OpenSSH's own sshd."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.hosts.system import CONFIG, make_key

# an installation of Python 3.6 to put onto a host, where there is one
OLD = os.environ.get("PYTHON36_HOME", "")


def without(text: str, *keys: str) -> str:
    for key in keys:
        text = re.sub(r", %s: [^,}]+" % key, "", text)
    return text


def other_key(system, name: str) -> str:
    """A line of known_hosts with a key that is not the host's."""
    line = next(line for line in system.cloud.known_hosts().splitlines() if line.split(",")[0] == name)
    stranger = make_key(Path(system.home, "stranger"))
    return "%s %s\n" % (line.split()[0], " ".join(stranger.split()[:2]))


def test_a_host_whose_key_is_not_known_is_refused_until_it_is(make_system):
    system = make_system("n1")
    (system.home / "known_hosts").write_text("")
    system.ok("sinfo")
    said = system.reason("n1", "the key of n1 is not the one known")
    assert said.startswith("n1|down|")
    assert "known_hosts" in said
    assert system.sh("srun --immediate=1 true").returncode == 1
    system.know()
    system.idle("n1")
    assert system.ok("sinfo -h -R -n n1") == ""


def test_a_mended_configuration_is_taken_at_once(make_system):
    """A name that does not resolve is told; what mends it counts from `scontrol reconfigure` on."""
    name = "nowhere"
    system = make_system(name)
    system.ok("sinfo")
    assert "does not resolve" in system.reason(name, "the name nowhere does not resolve here")
    config = Path(system.home, "config.yaml")
    address = system.cloud.host("n1").ip
    config.write_text(config.read_text().replace("user: ubuntu", "addresses: {%s: %s}, user: ubuntu" % (name, address)))
    (system.home / "known_hosts").write_text(system.cloud.known_hosts())
    system.ok("scontrol reconfigure")
    system.idle(name)


def test_the_broker_does_not_log_in_through_itself(make_system):
    """Who puts what `sbroker ssh-config` prints into ~/.ssh/config still reaches the nodes."""
    system = make_system("n1")
    system.idle("n1")
    (system.work / ".ssh").mkdir(mode=0o700)
    (system.work / ".ssh/config").write_text(system.ok("sbroker ssh-config"))
    system.kill_broker()
    system.ok("sinfo")
    system.idle("n1")
    assert system.ok("srun hostname") == "n1\n"


def test_a_changed_key_is_refused(make_system):
    system = make_system("n1")
    (system.home / "known_hosts").write_text(other_key(system, "n1"))
    system.ok("sinfo")
    system.reason("n1", "the key of n1 is not the one known")
    assert system.on("n1", "ls -d /home/ubuntu/.sbroker/%s 2>/dev/null" % system.status()["store"]) == ""


def test_a_configuration_that_would_not_ask_does_not_make_it_trusted(make_system):
    system = make_system("n1", without(CONFIG, "known_hosts"))
    ssh = system.work / ".ssh"
    ssh.mkdir(mode=0o700)
    (ssh / "config").write_text("Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile none\n")
    system.ok("sinfo")
    assert "~/.ssh/known_hosts" in system.reason("n1", "the key of n1 is not the one known")


@pytest.mark.parametrize("user", ["ubuntu", "nobodyhere"])
def test_who_is_not_let_in_is_told_so(make_system, user):
    system = make_system("n1", CONFIG.replace("user: ubuntu", "user: " + user))
    if user == "ubuntu":
        (system.home / "key").unlink()
        make_key(system.home / "key")
    system.ok("sinfo")
    system.reason("n1", "n1 does not let %s in" % user)


def test_a_key_file_that_is_not_there_is_named(make_system):
    system = make_system("n1", CONFIG.replace("identity_file: key", "identity_file: nokey"))
    system.ok("sinfo")
    system.reason("n1", "nokey")


def test_what_the_accounts_own_files_print_is_passed_over(hub, make_system):
    """bash reads ~/.bashrc for a command of sshd's, too, and people print there."""
    system = make_system(hub.extra("noisy"))
    system.on("noisy", "echo 'echo good morning' > /home/ubuntu/.bashrc; echo 'printf \"no end\"' >> /home/ubuntu/.bashrc; chown ubuntu /home/ubuntu/.bashrc")
    system.ok("sinfo")
    system.idle("noisy")
    system.kill_agent("noisy")
    system.kill_broker()
    system.ok("sinfo")
    system.idle("noisy", 30)


@pytest.mark.parametrize("python", ["none", "old"])
def test_a_host_without_a_python_says_so(hub, make_system, python):
    system = make_system(hub.extra("nopython-" + python, python=python))
    system.ok("sinfo")
    system.reason("nopython-" + python, "has no Python 3.6 or later")


def test_the_systems_own_python_is_found(hub, make_system):
    system = make_system(hub.extra("platform", python="platform"))
    system.idle("platform")
    assert "/usr/libexec/platform-python" in system.on("platform", "tr '\\0' ' ' < /proc/%s/cmdline" % agent(system, "platform"))


def agent(system, node: str) -> str:
    """Pid of the agent as the host counts."""
    pid = system.agent_pid(node)
    return Path("/proc/%d/status" % pid).read_text().partition("NSpid:")[2].split("\n")[0].split()[-1]


@pytest.mark.skipif(not OLD, reason="PYTHON36_HOME names no installation of Python 3.6")
def test_the_oldest_python_that_is_enough(hub, make_system):
    system = make_system(hub.extra("python36", python=OLD))
    system.idle("python36")
    assert system.sh("sbatch -W -o out --wrap 'hostname; srun -l hostname; srun python3 -V; exit 3'").returncode == 3
    system.drain()
    said = (system.work / "out").read_text().splitlines()
    assert (said[:2], said[2][:10]) == (["python36", "0: python36"], "Python 3.6")


def test_a_python_elsewhere_may_be_named(hub, make_system):
    real = os.path.realpath("/usr/bin/python3")
    name = hub.extra("named", python="none", bind=["%s:/srv/odd/bin/snake" % real])
    system = make_system(name, CONFIG.replace("user: ubuntu", "user: ubuntu, python: /srv/odd/bin/snake"))
    system.ok("sinfo")
    system.until("sinfo -h -n named -o %T", "idle")


def test_sudo_that_is_not_there_or_asks_is_said(hub, make_system):
    system = make_system(hub.extra("nosudo", sudo=False), CONFIG.replace("user: ubuntu", "user: ubuntu, become: sudo"))
    system.ok("sinfo")
    system.reason("nosudo", "sudo")
    asks = make_system(hub.extra("asks"), CONFIG.replace("user: ubuntu", "user: ubuntu, become: sudo"))
    asks.on("asks", "rm /etc/sudoers.d/90-cloud")
    asks.ok("sinfo")
    asks.reason("asks", "become: sudo needs sudo without a password")


def test_sudo_makes_a_root_agent(make_system):
    system = make_system("n2", CONFIG.replace("user: ubuntu", "user: ubuntu, become: sudo"))
    system.idle("n2")
    pid = system.agent_pid("n2", "var/lib/sbroker")
    assert os.stat("/proc/%d" % pid).st_uid == 0


def test_another_port_and_another_address(hub, make_system):
    name = hub.extra("port", port=2222)
    config = CONFIG.replace("user: ubuntu", 'user: ubuntu, port: 2222, addresses: {elsewhere: %s}' % hub.cloud.host(name).ip)
    system = make_system("elsewhere", config)
    system.idle("elsewhere")
    assert system.agent_pid("elsewhere", host="port") > 0


def test_what_ssh_config_says_counts(hub, make_system):
    """An alias with its HostName, Port, User and IdentityFile, as `ssh alias` would find them."""
    name = hub.extra("target", port=2022, users={"alice": 2001})
    system = make_system("alias", without(CONFIG, "user", "identity_file", "known_hosts"))
    ssh = system.work / ".ssh"
    ssh.mkdir(mode=0o700)
    (ssh / "config").write_text("Host alias\n  HostName %s\n  Port 2022\n  User alice\n  IdentityFile %s/key\n" % (hub.cloud.host(name).ip, system.home))
    (ssh / "known_hosts").write_text(system.cloud.known_hosts())
    system.idle("alias")
    assert os.stat("/proc/%d" % system.agent_pid("alias", "home/alice/.sbroker", name)).st_uid == 2001


def test_by_a_jump_host(hub, make_system):
    """n4 lets nobody in who does not come from n3."""
    name = hub.extra("inner", sshd="Match Address *,!%s\n  AuthorizedKeysFile none\n" % hub.cloud.host("n3").ip)
    direct = make_system(name)
    direct.ok("sinfo")
    direct.reason(name, "does not let ubuntu in")
    system = make_system(name, CONFIG.replace("user: ubuntu", "user: ubuntu, jump: ubuntu@n3"))
    system.idle(name)
    unknown = make_system(name, CONFIG.replace("user: ubuntu", "user: ubuntu, jump: nobodyhere@n3"))
    unknown.ok("sinfo")
    unknown.reason(name, "the jump host nobodyhere@n3 does not let us in")


def test_a_host_that_takes_the_connection_and_is_silent_is_noticed(hub, make_system):
    """A frozen machine: TCP connects, no banner comes."""
    name = hub.extra("frozen")
    hub.cloud.freeze(name)
    system = make_system(name, "lost_after: 5\n" + CONFIG.replace("lost_after: 60\n", ""))
    system.ok("sinfo")
    system.until("sinfo -h -n frozen -o %T | tr -d '*'", "down", 60)
    hub.cloud.thaw(name)
    system.idle(name)


def test_nothing_secret_is_on_the_command_line_or_readable(make_system):
    system = make_system("n1")
    system.idle("n1")
    folder = system.agent_folder("n1")
    secret = (folder / "secret").read_bytes()
    assert secret.hex() not in system.on("n1", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    for name in ("secret", "journal", "epoch"):
        assert (folder / name).stat().st_mode & 0o077 == 0, name
    done = subprocess.run(["grep", "-rlF", "PRIVATE KEY", str(folder.parent.parent)], capture_output=True, check=False)
    assert done.stdout == b""


def test_the_doctor_looks_at_the_hosts(hub, make_system):
    """Reachable, its key known, a Python there: each said of the host that it is not true of, and the rest counted."""
    bare = hub.extra("doctor-bare", python="none")
    system = make_system("n1," + bare + ",nowhere")
    done = system.sh("sbroker doctor")
    said = done.stdout.splitlines()
    assert done.returncode == 1
    assert [line for line in said if re.match(r"ok    1 of 3 hosts that are reached by SSH let us in and have a Python \(3\.[0-9.]+\)\.$", line)], done
    assert [line.split(":")[0] for line in said if line.startswith("BAD") and "nowhere" in line] == ["BAD   nowhere"]
    assert [line for line in said if line.startswith("BAD   %s" % bare) and "has no Python 3.6 or later" in line], done
    (system.home / "known_hosts").write_text("")
    assert "the key of n1" in system.sh("sbroker doctor").stdout
    (system.home / "key").unlink()
    assert re.search(r"BAD   The configuration cannot be used: .*config\.yaml:\d+: sites\.lab\.identity_file: .*key cannot be read", system.sh("sbroker doctor").stdout)


def test_the_commands_of_earlier_releases_go_from_the_nodes(make_system):
    system = make_system("n1")
    system.idle("n1")
    old = system.agent_folder("n1") / "bin-0123456789abcdef"
    old.mkdir()
    system.kill_agent("n1")
    system.until_there("n1", "ls /home/ubuntu/.sbroker/%s/n1 | grep -c ^bin-0123456789abcdef" % system.store(), "0")
    assert system.ok("srun hostname") == "n1\n"
