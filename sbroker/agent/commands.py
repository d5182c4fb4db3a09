"""Where the processes of a run find Slurm's names: the submit host's own folder on a twin, else one that the agent made here.

That one holds the thin client's files, as the front end's `CLIENT` names them, and one launcher for each name. It runs them by the
agent's own interpreter, which need not be in anybody's PATH. bash executes the launcher where there is one: other shells drop exported
functions from the environment (their names are no names to them), and what `sbatch` submits would lack them. A node without bash has
no such functions of its own either: there it is sh.
"""

import hashlib
import os
import pkgutil
import py_compile
import shutil
import sys

from . import site, tasks

_NAMES = ("srun", "sattach", "sbatch", "sbcast", "scancel", "scontrol", "sinfo", "squeue", "sacct", "sacctmgr", "salloc", "sshare")
_LAUNCHER = """#!%(shell)s
underscore=${_-}
case $0 in */*) me=$0 ;; *) me=./$0 ;; esac
exec %(python)s -IS -X utf8 -c 'import sys, _frozen_importlib_external as e
exec(e.SourceFileLoader("client", sys.argv[1]).get_code("client"))' %(client)s "$underscore" "$me" "$@"
"""


def install(folder, front, python=None):
    """Make the folder of the names below the agent's `folder`, once for its content; its path, "" for a front end that has no client.
    OSError when it cannot be made."""
    names = getattr(front, "CLIENT", ())
    if not names:
        return ""
    python, shell = python or sys.executable, site.shell_path()
    files = {name: pkgutil.get_data(front.__name__, name) for name in names}
    content = hashlib.sha256(repr((sorted(files.items()), _LAUNCHER, python, shell)).encode()).hexdigest()[:16]
    place = os.path.join(folder, "bin-" + content)
    if os.path.isdir(place):
        return place
    made = place + ".new"
    shutil.rmtree(made, ignore_errors=True)  # a start before this one did not come to its end
    os.mkdir(made)
    for name, data in files.items():
        with open(os.path.join(made, name), "wb") as stream:
            stream.write(data)
    launcher = os.path.join(made, _NAMES[0])
    with open(launcher, "w", encoding="utf-8", errors="surrogateescape") as stream:
        how = shell + " -p" if shell.endswith("bash") else shell
        stream.write(_LAUNCHER % {"shell": how, "python": quoted(python), "client": quoted(os.path.join(place, names[0]))})
    for name in _NAMES[1:]:
        os.symlink(_NAMES[0], os.path.join(made, name))
    for name in names:  # users cannot write byte code there, and would wait for the compiler each time
        py_compile.compile(os.path.join(made, name), dfile=os.path.join(place, name))
    for path, folders, found in os.walk(made):
        for name in found:
            if not os.path.islink(os.path.join(path, name)):
                os.chmod(os.path.join(path, name), 0o755 if name == _NAMES[0] else 0o644)
        os.chmod(path, 0o755)
    os.rename(made, place)
    return place


def quoted(text):
    """One word of a shell's line."""
    return "'" + text.replace("'", "'\\''") + "'"


def offer(sup, env):
    """Change PATH of `env` (str → str) so that srun is found in it, and is ours: the one of another Slurm knows nothing of this job.

    What goes to the end is the folder itself; what goes to the front holds these names alone, so that it hides nothing else: the one that
    the agent made does. OSError when a folder cannot be made.
    """
    found, place = tasks.find("srun", env), folder(sup)
    path = env.get("PATH") or "/usr/local/bin:/usr/bin:/bin"
    if place and place == (sup.info.get("here") or {}).get("bin"):
        if not found or os.path.dirname(found) != place:
            env["PATH"] = place + ":" + path
    elif place and not found:
        env["PATH"] = path + ":" + place
    elif place and os.path.realpath(found) != os.path.realpath(os.path.join(place, "srun")):
        env["PATH"] = front_folder(sup, place) + ":" + path


def folder(sup):
    """The folder with Slurm's names; None if there is none."""
    info = sup.info
    if sup.software.twin and info.get("bin") and os.path.isdir(info["bin"]):
        return info["bin"]
    return (info.get("here") or {}).get("bin") or None


def front_folder(sup, place):
    """A folder of these names alone, links to those in `place`. OSError when it cannot be made."""
    made = sup.rundir.file("bin")
    os.makedirs(made, exist_ok=True)
    for name in _NAMES:
        path = os.path.join(made, name)
        if not os.path.lexists(path):
            os.symlink(os.path.join(place, name), path)
    return made
