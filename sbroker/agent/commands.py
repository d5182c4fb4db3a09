"""Where the processes of a run find Slurm's names: a folder that the broker named, or one made of a copy of the launcher."""

import os
import shutil

from . import tasks

_NAMES = ("srun", "sattach", "sbatch", "sbcast", "scancel", "scontrol", "sinfo", "squeue", "sacct", "sacctmgr",
          "salloc", "sshare")


def offer(sup, env):
    """Change PATH of `env` (str → str) so that srun is found in it, and is ours: the one of another Slurm knows nothing of this job.

    What goes to the end is the folder itself; what goes to the front holds these names alone, so that it hides nothing else.
    OSError when a folder cannot be made.
    """
    found, place = tasks.find("srun", env), folder(sup)
    path = env.get("PATH") or "/usr/local/bin:/usr/bin:/bin"
    if place and not found:
        env["PATH"] = path + ":" + place
    elif place and os.path.realpath(found) != os.path.realpath(os.path.join(place, "srun")):
        env["PATH"] = _linked(sup, place) + ":" + path


def folder(sup):
    """The folder with Slurm's names; None if the run's description offers none. OSError when it cannot be made."""
    info = sup.info
    if info.get("bin") and os.path.isdir(info["bin"]):
        return info["bin"]
    if not info.get("client") or not os.path.isfile(info["client"]):
        return None
    place = sup.rundir.file("client")
    launcher = os.path.join(place, "srun")
    if not os.path.exists(launcher):
        os.makedirs(place, exist_ok=True)
        shutil.copyfile(info["client"], launcher)
        os.chmod(launcher, 0o755)
    return _links(place, "srun")


def _linked(sup, place):
    return _links(sup.rundir.file("bin"), place)


def _links(place, target):
    """Make links in the folder `place`: to the launcher `target`, or to the files of that folder."""
    os.makedirs(place, exist_ok=True)
    for name in _NAMES:
        path = os.path.join(place, name)
        if not os.path.lexists(path):
            os.symlink(os.path.join(target, name) if os.path.isdir(target) else target, path)
    return place
