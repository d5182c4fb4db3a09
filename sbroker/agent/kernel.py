"""The few system calls that Python has no name for, by ctypes. Each raises OSError as the call fails."""

import os

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER = 0x00020000, 0x04000000, 0x10000000
MS_BIND, MS_REC, MS_SLAVE = 4096, 16384, 1 << 19
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36


def _call(name, *words):
    """A function of the C library; words: int, bytes, None or of a ctypes type."""
    import ctypes  # not at the agent's start

    if getattr(ctypes.CDLL(None, use_errno=True), name)(*words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _prctl(option, word):
    """Every process of ours does this: by the C module below ctypes, which takes a third of the time to load, and has no word for what fails."""
    try:
        from _ctypes import call_function, dlopen, dlsym

        done = call_function(dlsym(dlopen(None, 0), "prctl"), (option, word, 0, 0, 0)) == 0
    except (ImportError, OSError, TypeError, ValueError):
        done = False
    if not done:
        _call("prctl", option, word, 0, 0, 0)


def become_subreaper():
    """Orphaned descendants become children of this process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_name(name):
    """What ps shows as this process's command name (15 bytes)."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def unshare(flags):
    _call("unshare", flags)


def sethostname(name):
    data = name.encode()
    _call("sethostname", data, len(data))


def mount(source, target, flags):
    """mount(2) for bind mounts and propagation changes: no file system type, no data."""
    import ctypes

    try:
        _call("mount", source and os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None)
    except OSError as error:
        raise OSError(error.errno, f"mount {target}: {os.strerror(error.errno)}") from None
