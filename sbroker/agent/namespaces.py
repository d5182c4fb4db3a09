"""A virtual node's own name: a UTS namespace with its host name, and an /etc/hosts in which the cluster's node names resolve.

The host's own /etc/hosts is never written: a file of ours is bind-mounted over it in a private mount namespace whose propagation is
one way (from the host to us). Root just does that; another user only where the site asks for it, in a user namespace, which has a price
in the jobs: files of other users look like nobody's, and setuid programs have no power.
"""

import os
import socket

from . import kernel

_MARK = "# nodes of the cluster"


class Names:
    """`enter` once at start, `add` names whenever new ones are heard of."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "hosts")
        self.active = False
        self._known = set()

    def enter(self, hostname):
        """Take the host name for this process and all that it forks. OSError where the kernel does not allow it."""
        own = kernel.CLONE_NEWUTS | kernel.CLONE_NEWNS
        if os.geteuid() == 0:
            kernel.unshare(own)
        else:
            _as_ourselves(own)
        kernel.mount(None, "/", kernel.MS_REC | kernel.MS_SLAVE)
        kernel.sethostname(hostname)
        with open("/etc/hosts", "r", encoding="utf-8", errors="surrogateescape") as stream:
            lines = stream.read().splitlines()
        with open(self.path, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write("\n".join(lines + [_MARK, ""]))
        os.chmod(self.path, 0o644)
        kernel.mount(self.path, "/etc/hosts", kernel.MS_BIND)
        self._known = {name for line in lines for name in line.partition("#")[0].split()[1:]}
        self.active = True

    def add(self, names):
        """Make names resolve: {name: address}. What the host's own file says of a name is left alone."""
        new = {name: address for name, address in names.items() if name not in self._known and _numeric(address)}
        if not self.active or not new:
            return
        with open(self.path, "a", encoding="utf-8") as stream:  # the same file: the mount shows it at once
            stream.write("".join(f"{address}\t{name}\n" for name, address in sorted(new.items())))
        self._known.update(new)


def _as_ourselves(flags):
    """The namespaces of `flags`, owned by a user namespace in which we are who we are."""
    maps = (("setgroups", "deny"), ("uid_map", "{0} {0} 1".format(os.geteuid())), ("gid_map", "{0} {0} 1".format(os.getegid())))
    kernel.unshare(kernel.CLONE_NEWUSER | flags)
    for name, text in maps:
        with open("/proc/self/" + name, "w", encoding="ascii") as stream:
            stream.write(text)


def _numeric(address):
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address)
            return True
        except OSError:
            continue
    return False
