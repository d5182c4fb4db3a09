"""Names in jobs: a virtual node's own (a UTS namespace with its host name), and an /etc/hosts in which the names of a job's nodes resolve.

The host's own /etc/hosts is never written: a file of ours is bind-mounted over it in a private mount namespace whose propagation is
one way (from the host to us). Root just does that, for virtual nodes always, elsewhere when a name is met that does not resolve; another
user only for virtual nodes where the site asks for it, in a user namespace, which has a price in the jobs: files of other users look like
nobody's, and setuid programs have no power.
"""

import os
import sys

from . import kernel, resolving

_MARK = "# nodes of the cluster"


class Names:
    """`enter` once at start, `add` names whenever new ones are heard of; or `learn` those of each job, and `enter` comes by itself."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "hosts")
        self.active = False
        self._barred = False  # the kernel does not allow it
        self._lines = []  # of the host's own file
        self._known = set()  # names that resolve without us
        self._ours = {}  # name → address
        self._learnt = {}  # name → what was said of it when it was looked at

    def enter(self, hostname=None):
        """Take a view of /etc/hosts, and the host name if there is one, for this process and all that it forks from now on. OSError where
        the kernel does not allow it."""
        own = kernel.CLONE_NEWNS | (kernel.CLONE_NEWUTS if hostname else 0)
        if os.geteuid() == 0:
            kernel.unshare(own)
        else:
            _as_ourselves(own)
        kernel.mount(None, "/", kernel.MS_REC | kernel.MS_SLAVE)
        if hostname:
            kernel.sethostname(hostname)
        with open("/etc/hosts", "r", encoding="utf-8", errors="surrogateescape") as stream:
            self._lines = stream.read().splitlines()
        if _MARK in self._lines:  # what an agent before us made of it, in whose namespace we were started
            self._lines = self._lines[: self._lines.index(_MARK)]
        self._known.update(name for line in self._lines for name in line.partition("#")[0].split()[1:])
        self._write()
        os.chmod(self.path, 0o644)
        kernel.mount(self.path, "/etc/hosts", kernel.MS_BIND)
        self.active = True

    def add(self, names):
        """Make names resolve: {name: address}. What the host's own file says of a name is left alone."""
        new = {name: address for name, address in names.items() if name not in self._known and resolving.numeric(address)}
        new = {name: address for name, address in new.items() if self._ours.get(name) != address}
        if self.active and new:
            self._ours.update(new)
            self._write()

    def _write(self):
        """The same file, not another one in its place: the mount shows it at once, to supervisors of earlier agents, too."""
        entries = [f"{address}\t{name}" for name, address in sorted(self._ours.items())]
        with open(self.path, "a", encoding="utf-8", errors="surrogateescape") as stream:
            stream.truncate(0)
            stream.write("\n".join(self._lines + [_MARK] + entries + [""]))

    def learn(self, loop, names, then):
        """Make the names of a job's nodes resolve where they do not, then `then()`; at once when there is nothing to find out. names:
        {name: [address or another name, …]}, the best first."""
        new = [name for name in names if name not in self._known and self._learnt.get(name) != names[name]]
        if not new or self._barred or os.geteuid() != 0:
            return then()

        def found(known):
            lacking = {}
            for name in new:
                self._learnt[name] = names[name]
                if name in known and name not in self._ours:
                    self._known.add(name)
                    continue
                addresses = [address for word in names[name] for address in known.get(word, ())]
                if addresses:
                    lacking[name] = addresses[0]
            try:
                if lacking and not self.active:
                    self.enter()
                self.add(lacking)
            except OSError as error:
                self._barred = True
                print(f"sbroker agent: these names do not resolve in jobs: {' '.join(sorted(lacking))}: {error}", file=sys.stderr)
            then()

        resolving.addresses(loop, sorted(set(new).union(*(names[name] for name in new))), found)


def _as_ourselves(flags):
    """The namespaces of `flags`, owned by a user namespace in which we are who we are."""
    maps = (("setgroups", "deny"), ("uid_map", "{0} {0} 1".format(os.geteuid())), ("gid_map", "{0} {0} 1".format(os.getegid())))
    kernel.unshare(kernel.CLONE_NEWUSER | flags)
    for name, text in maps:
        with open("/proc/self/" + name, "w", encoding="ascii") as stream:
            stream.write(text)
