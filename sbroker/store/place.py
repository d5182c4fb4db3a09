"""Where a database file may lie: not on a network file system, whose locks and write order SQLite cannot rely on."""

from __future__ import annotations

import os

from sbroker.errors import StoreError

NETWORK = frozenset(
    {
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ncpfs",
        "lustre",
        "gpfs",
        "beegfs",
        "beegfs_nodev",
        "ceph",
        "fuse.ceph",
        "fuse.ceph-fuse",
        "glusterfs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "fuse.s3fs",
        "fuse.rclone",
        "fuse.gcsfuse",
        "fuse.juicefs",
        "afs",
        "panfs",
        "pvfs2",
        "orangefs",
        "wekafs",
        "fhgfs",
    }
)


def file_system(path: str, mountinfo: str = "/proc/self/mountinfo") -> str:
    """Type of the file system that holds `path` (which need not exist yet), as in mountinfo; "" where that cannot be read."""
    target, best, kind = os.path.realpath(path), "", ""
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                left, _, right = line.partition(" - ")
                # A space in a mount point is written as \040; of mounts on the same point the last one is seen.
                point = (
                    left.split()[4]
                    .encode("utf-8", "surrogateescape")
                    .decode("unicode_escape")
                    .encode("latin-1")
                    .decode("utf-8", "surrogateescape")
                )
                inside = target == point or target.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, right.split()[0]
    except FileNotFoundError:  # no /proc: nothing is known, and nothing is refused
        return ""
    return kind


def refuse_network(path: str, mountinfo: str = "/proc/self/mountinfo") -> None:
    """StoreError with a sentence if `path` lies on a network file system."""
    kind = file_system(path, mountinfo)
    if kind in NETWORK:
        raise StoreError(
            "%s lies on a network file system (%s), where a database is not safe: set SBROKER_HOME to a folder on a local disk, "
            'or set "store: postgresql://..." in config.yaml' % (path, kind)
        )
