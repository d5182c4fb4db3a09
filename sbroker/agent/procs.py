"""What /proc says of processes: descendants, memory, whose they are. Processes come and go while we look: a missing one is not an error."""

import os

_PAGE = os.sysconf("SC_PAGE_SIZE")


def descendants(pid):
    """Pids of all processes below `pid`, parents before children."""
    found, queue = [], [pid]
    while queue:
        parent = queue.pop(0)
        children = _children(parent)
        if children is None:  # a kernel without /proc/*/task/*/children
            return _descendants_by_stat(pid)
        found += children
        queue += children
    return found


def children(pid):
    """Pids of the children of `pid`."""
    found = _children(pid)
    return _below().get(pid, []) if found is None else found


def _children(pid):
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    children = []
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as stream:
                children += [int(child) for child in stream.read().split()]
        except FileNotFoundError:
            if os.path.exists(f"/proc/{pid}/task/{thread}/stat"):
                return None
        except OSError:
            continue
    return children


def _below():
    """parent → children of all processes, by /proc/*/stat."""
    below = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(name)
            if fields:
                below.setdefault(int(fields[1]), []).append(int(name))
    return below


def _descendants_by_stat(pid):
    below = _below()
    found, queue = [], [pid]
    while queue:
        children = below.get(queue.pop(0), [])
        found += children
        queue += children
    return found


def _stat(pid):
    """Fields of /proc/PID/stat from the state on, or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return stream.read().rpartition(b")")[2].split()
    except OSError:
        return None


def alive(pid):
    """Whether the process exists and is not a zombie."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in (b"Z", b"X")


def stopped(pid, uid):
    """Whether the process is one of `uid`'s and stopped."""
    try:
        with open(f"/proc/{pid}/status", "rb") as stream:  # its folder's owner is root for a process that gave up root
            fields = dict(line.partition(b":")[::2] for line in stream.read().splitlines())
        return fields[b"State"].strip()[:1] in (b"T", b"t") and int(fields[b"Uid"].split()[0]) == uid
    except (OSError, KeyError):
        return False


def resident(pid):
    """Resident memory in bytes, 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as stream:
            return int(stream.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def by_environ(entry, uid, prefix=False):
    """Pids (set) of `uid`'s processes that were started with the environment entry `entry` (bytes, KEY=value), or with one that begins so."""
    found = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid != uid:
                continue
            with open(f"/proc/{name}/environ", "rb") as stream:
                entries = stream.read().split(b"\0")
        except OSError:
            continue
        if entry in entries or prefix and any(each.startswith(entry) for each in entries):
            found.add(int(name))
    return found


def signal_all(pids, signum):
    """Signal each; the number that were there to get it."""
    count = 0
    for pid in pids:
        try:
            os.kill(pid, signum)
            count += 1
        except (ProcessLookupError, PermissionError):
            continue  # gone, or a set-uid program: its parent's end will show it
    return count


def has_children():
    """Whether this process has any child, zombies included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def close_all_but(keep):
    """In a fork: let go of every descriptor that is not among `keep`."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:
                continue  # the descriptor that listed the folder
