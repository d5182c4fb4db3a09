"""Who a run belongs to, and becoming that user. Only root changes; another agent runs its own user's jobs and no others."""

import os

from .loop import peer_ids


def refusal(user, settings, me=None):
    """"" if this agent may run jobs of `user` (the description's user object), else a sentence. `settings`: min_uid, allow_root_jobs."""
    me = os.geteuid() if me is None else me
    uid = user["uid"]
    if me != 0:
        return "" if uid == me else f"this node's agent runs as uid {me} and cannot run jobs of uid {uid}"
    if uid == 0:
        return "" if settings.get("allow_root_jobs") else "jobs of root are not allowed here"
    if uid < settings.get("min_uid", 1000):
        return f"uid {uid} is below the least that may run jobs here ({settings.get('min_uid', 1000)})"
    if any(group == 0 for group in [user["gid"]] + list(user.get("groups", []))) and not settings.get("allow_root_jobs"):
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
