"""The account of a job's owner on a node where the agent is root: found, or made with the same name, uid, gid and home.

Nothing that is there is changed. A name, uid or group that means somebody else here is a refusal, in one sentence: the job would get
into that one's files. What is made has a locked password. Groups beside the first are those that the node's own records give the user,
and those of the same name and number on both sides that are no system's (a group `docker` here is not given away by one elsewhere).
"""

import fcntl
import grp
import os
import pwd
import time

from .errand import Sentence

COMMENT = "made by sbroker for its jobs"
_FIRST_USER = 1000  # groups below are the system's
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}[A-Za-z0-9_.$-]?\Z"
_TOOLS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
PATIENCE = 30  # seconds for useradd, and for whoever else is changing the accounts


class Refused(Sentence):
    """Why this user can have no account here."""


class Missing(Exception):
    """Something has to be made, which takes a while."""


def settle(user, make=True, etc="/etc", look=None):
    """The description's `user` as this node knows him: home, shell and groups are the node's. Makes what is missing, or raises Missing.
    Refused, OSError. `etc`, `look`: for tests; another folder is written by ourselves, and `look` answers for pwd and grp."""
    look = look or Records()
    name, uid, gid = user["name"], user["uid"], user["gid"]
    known, named = look.uid(uid), look.name(name)
    if known is not None and known.pw_name != name:
        raise Refused(f"uid {uid} is {known.pw_name}'s here, and {name}'s where the job was submitted")
    if named is not None and named.pw_uid != uid:
        raise Refused(f"{name} has uid {named.pw_uid} here, and {uid} where the job was submitted")
    group = user.get("group") or name
    there = look.gid(gid)
    if there is None:
        other = look.group(group)
        if other is not None:
            raise Refused(f"the group {group} has gid {other.gr_gid} here, and {gid} where the job was submitted")
        _check_names(name, group, user)
        _wanted(make)
        _add_group(group, gid, etc)
    elif there.gr_name != group and not (known is not None and known.pw_gid == gid):
        raise Refused(f"gid {gid} is the group {there.gr_name} here, and {group} where the job was submitted")
    if known is None:
        _check_names(name, group, user)
        _wanted(make)
        _add_user(user, etc)
        known = look.uid(uid)
        if known is None or known.pw_name != name:
            raise Refused(f"no account could be made for {name} (uid {uid}): what was written is not what this machine looks at")
    make_home(known.pw_dir, uid, gid)
    names = {int(number): word for number, word in (user.get("group_names") or {}).items()}
    both = [number for number, word in names.items() if number >= _FIRST_USER and look.gid(number) is not None and look.gid(number).gr_name == word]
    return dict(user, home=known.pw_dir, shell=known.pw_shell or "/bin/sh", groups=sorted(set(look.groups(name, gid)) | set(both) | {gid}))


def _wanted(make):
    if not make:
        raise Missing()


class Records:
    """What this machine knows of users and groups, whoever keeps it (files, LDAP, …); None for what is not there."""

    def uid(self, uid):
        return _found(pwd.getpwuid, uid)

    def name(self, name):
        return _found(pwd.getpwnam, name)

    def gid(self, gid):
        return _found(grp.getgrgid, gid)

    def group(self, name):
        return _found(grp.getgrnam, name)

    def groups(self, name, gid):
        return os.getgrouplist(name, gid)


def _found(function, key):
    try:
        return function(key)
    except KeyError:
        return None


def _check_names(name, group, user):
    """What shall go into a file whose fields end with colons and lines."""
    import re  # not at the agent's start (tests/rules)

    for word in (name, group):
        if not re.match(_NAME, word):
            raise Refused(f"no account can be made here with the name {word!r}")
    home = user.get("home") or ""
    if not home.startswith("/") or re.search(r"[:\n\0]|/\.\.?(/|$)", home):
        raise Refused(f"no account can be made here with the home {home!r}")


def _tool(name, etc):
    """The path of a command of the system's, None if it is missing (or the records are not the system's)."""
    if etc != "/etc":
        return None
    return next((path for path in (os.path.join(folder, name) for folder in _TOOLS) if os.access(path, os.X_OK)), None)


def _run(argv, what):
    import subprocess  # the agent starts without it, as without all that is rarely needed (tests/rules)

    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE, check=False,
                          env={"PATH": ":".join(_TOOLS), "LANG": "C"}, cwd="/")
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise Refused(f"no {what} could be made: {said[-1]}")


def _add_group(name, gid, etc):
    tool = _tool("groupadd", etc)
    if tool:
        return _run([tool, "-g", str(gid), name], f"group {name} (gid {gid})")
    with _Lock(etc):
        _append(os.path.join(etc, "group"), f"{name}:x:{gid}:")
        _append(os.path.join(etc, "gshadow"), f"{name}:!::", needed=False)


def _add_user(user, etc):
    name, uid, gid, home = user["name"], user["uid"], user["gid"], user["home"]
    shell = user.get("shell") or "/bin/sh"
    if not os.access(shell, os.X_OK) or any(sign in shell for sign in ":\n\0"):
        shell = "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"
    tool = _tool("useradd", etc)
    if tool:
        # no home and no mailbox: what it would make is not ours to choose
        return _run([tool, "-u", str(uid), "-g", str(gid), "-d", home, "-M", "-N", "-s", shell, "-c", COMMENT, name], f"account for {name} (uid {uid})")
    with _Lock(etc):
        _append(os.path.join(etc, "shadow"), f"{name}:!:{int(time.time()) // 86400}:0:99999:7:::", needed=False)
        _append(os.path.join(etc, "passwd"), f"{name}:x:{uid}:{gid}:{COMMENT}:{home}:{shell}")


class _Lock:
    """lckpwdf(3): what passwd, useradd and their kin wait for."""

    def __init__(self, etc):
        self._path = os.path.join(etc, ".pwd.lock")

    def __enter__(self):
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        fcntl.lockf(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_error):
        os.close(self._fd)


def _append(path, line, needed=True):
    """One more line, whole or not at all; the file's owner and mode stay."""
    try:
        found = os.stat(path)
        with open(path, "rb") as stream:
            data = stream.read()
    except FileNotFoundError:
        if needed:
            raise
        return
    data += (b"" if data.endswith(b"\n") or not data else b"\n") + line.encode() + b"\n"
    made = path + ".sbroker"
    fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as stream:
        os.fchown(fd, found.st_uid, found.st_gid)
        os.fchmod(fd, found.st_mode & 0o7777)
        stream.write(data)
        stream.flush()
        os.fsync(fd)
    os.rename(made, path)


def make_home(path, uid, gid):
    """The home folder, for its owner alone, if it is missing; folders above it are root's. What is there stays as it is. OSError."""
    if os.path.lexists(path):
        return
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    os.mkdir(path, 0o700)
    os.chown(path, uid, gid, follow_symlinks=False)
