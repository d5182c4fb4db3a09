"""Who a run belongs to, and becoming that user. Only root changes; another agent runs its own user's jobs and no others."""

import grp
import os
import pwd

from .loop import peer_ids

MIN_UID = 1000


class Policy:
    """Whose jobs may run here. The agent's own options bind a broker that is not root: its settings may only take away."""

    def __init__(self, min_uid=MIN_UID, allow_root=False, become=None):
        self.min_uid, self.allow_root = min_uid, allow_root
        self.become = become  # "root", "sudo", "none" as the site says; None on the submit host, where every user is known

    @property
    def mapped(self):
        """Whether everybody's jobs run as our own user."""
        return self.become == "none" and os.geteuid() != 0

    @property
    def accounts(self):
        """Whether users that are not known here get an account."""
        return self.become in ("root", "sudo") and os.geteuid() == 0

    def under(self, settings, trusted):
        """The policy with a broker's settings (min_uid, allow_root_jobs); `trusted`: the broker is root or our own user."""
        min_uid, allow_root = settings.get("min_uid", MIN_UID), bool(settings.get("allow_root_jobs"))
        if trusted:
            return Policy(min_uid, allow_root or self.allow_root, settings.get("become"))
        return Policy(max(min_uid, self.min_uid), self.allow_root, settings.get("become"))

    def refusal(self, user, me=None):
        """"" if this agent may run jobs of `user` (the description's user object), else a sentence."""
        me = os.geteuid() if me is None else me
        uid = user["uid"]
        if me != 0:
            return "" if uid == me else f"this node's agent runs as uid {me} and cannot run jobs of uid {uid}"
        if uid == 0:
            return "" if self.allow_root else "jobs of root are not allowed here"
        if uid < self.min_uid:
            return f"uid {uid} is below the least that may run jobs here ({self.min_uid})"
        if 0 in [user["gid"], *user.get("groups", [])] and not self.allow_root:
            return "jobs with root's group are not allowed here"
        return ""


def become(user):
    """Give up root for the user's ids and supplementary groups, for good. Nothing to do for an agent that is not root."""
    if os.geteuid() != 0:
        return
    os.setgroups(sorted(set(user.get("groups", [])) | {user["gid"]}))
    os.setgid(user["gid"])
    os.setuid(user["uid"])
    if os.getresuid() != (user["uid"],) * 3 or os.getresgid() != (user["gid"],) * 3:
        raise OSError("the user's ids did not take effect")


def peer_allowed(fd):
    """Whether the process at the other end of a Unix socket is root's or of our own uid."""
    return peer_ids(fd)[1] in (0, os.geteuid())


def peer_is(sock, uid):
    """Whether the other end is the user `uid`, or root."""
    return peer_ids(sock)[1] in (0, uid)


def own():
    """Our own user, as a run's description has one: {name, uid, gid, group, groups, home, shell}."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwuid(uid)
        name, home, shell = entry.pw_name, entry.pw_dir, entry.pw_shell
    except KeyError:
        name, home, shell = str(uid), os.environ.get("HOME", "/"), "/bin/sh"
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    return {"name": name, "uid": uid, "gid": gid, "group": group, "groups": sorted(os.getgroups()), "home": home, "shell": shell or "/bin/sh"}
