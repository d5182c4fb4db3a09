"""The few calls to the kernel that make a namespace a machine. Linux, root."""

from __future__ import annotations

import ctypes
import os

NEWTIME, NEWNS, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x80, 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, REMOUNT, BIND, REC, PRIVATE, SLAVE = 1, 2, 4, 32, 4096, 16384, 1 << 18, 1 << 19
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def _check(code: int, what: str) -> None:
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (what, os.strerror(number)))


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    source_, target_, kind_, data_ = (word.encode() if word is not None else None for word in (source, target, kind, data))
    _check(_libc.mount(source_, target_, kind_, ctypes.c_ulong(flags), data_), "mount %s on %s" % (source, target))


def detach(target: str) -> None:
    _check(_libc.umount2(target.encode(), _DETACH), "umount %s" % target)


def pivot_root(root: str, old: str) -> None:
    _check(_libc.syscall(_PIVOT_ROOT[os.uname().machine], root.encode(), old.encode()), "pivot_root %s" % root)


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def setns(path: str, kind: int) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        _check(_libc.setns(handle, kind), "setns %s" % path)
    finally:
        os.close(handle)


def sethostname(name: str) -> None:
    _check(_libc.sethostname(name.encode(), len(name.encode())), "sethostname %s" % name)


def starttime(pid: int) -> int | None:
    """Clock tick at which the process began; None when it is gone or a zombie."""
    try:
        with open("/proc/%d/stat" % pid) as stream:
            rest = stream.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if rest[0] == "Z" else int(rest[19])
