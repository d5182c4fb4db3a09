"""Where the processes of a run find Slurm's names: a folder that the agent made, of these names alone, so that it hides nothing else.

On a twin they are links to the submit host's own. Elsewhere they are launchers for the thin client, whose files the front end names in
its `CLIENT`; they run it by the agent's own interpreter, which need not be in anybody's PATH. bash executes a launcher where there is
one: other shells drop exported functions from the environment (their names are no names to them), and what `sbatch` submits would lack
them. A node without bash has no such functions of its own either: there it is sh.

Login shells and start files set PATH anew. Every bash that runs a script or a command line reads the file that BASH_ENV names, after all of
those (also with -l): it is ours, which sees to it that the names are found and then reads the user's own. Where the agent is root on a
node elsewhere, /etc/profile.d does the same for other and for interactive login shells; without, bash does it before it prompts.
"""

import _frozen_importlib_external as _bootstrap_external
import os
import sys

from . import lean, site, tasks

_UNCHECKED = (1).to_bytes(4, "little")  # byte code that says it needs no look at its source (PEP 552)
_NAMES = ("srun", "sattach", "sbatch", "sbcast", "scancel", "scontrol", "sinfo", "squeue", "sacct", "sacctmgr", "salloc", "sshare")
START_FILE = "sbroker_env"
_LAUNCHER = """#!%(shell)s
underscore=${_-}
case $0 in */*) me=$0 ;; *) me=./$0 ;; esac
exec %(python)s -IS -X utf8 -c 'import sys, _frozen_importlib_external as e
exec(e.SourceFileLoader("client", sys.argv[1]).get_code("client"))' %(client)s "$underscore" "$me" "$@"
"""
# for any shell of the sh family, with -e or -u too; forks nothing
_START = """# sbroker: the commands of a job's Slurm stay in PATH, whatever start files make of it
case $- in
*i*) ;;
*)
    if [ -n "${SBROKER_BASH_ENV-}" ]; then
        eval "__sbroker_file=\\"$SBROKER_BASH_ENV\\""
        if [ -r "$__sbroker_file" ]; then . "$__sbroker_file"; fi
        unset __sbroker_file
    fi
    ;;
esac
__sbroker_left=${PATH-}:
while [ -n "$__sbroker_left" ]; do
    __sbroker_folder=${__sbroker_left%%%%:*}
    if [ -x "$__sbroker_folder/srun" ]; then break; fi
    __sbroker_left=${__sbroker_left#*:}
done
if [ -z "$__sbroker_left" ]; then
    PATH=${PATH:+$PATH:}%(place)s
elif ! [ "$__sbroker_folder/srun" -ef %(place)s/srun ]; then
    PATH=%(place)s:$PATH
fi
unset __sbroker_left __sbroker_folder
"""
PROFILE = """# made by sbroker: shells inside its jobs keep the commands of their Slurm in PATH
if [ -n "${SBROKER_SOCKET-}" ] && [ -r "${SBROKER_ENV-}" ]; then . "$SBROKER_ENV"; fi
"""


def _is_made(name):
    """Whether a folder has a name that `install` gives: bin-, sixteen hexadecimal digits, and while it is made .new"""
    if name.endswith(".new"):
        name = name[:-4]
    return len(name) == 20 and name.startswith("bin-") and not name[4:].strip("0123456789abcdef")


def install(folder, front, bin=None, python=None):
    """Make the folder of the names below the agent's `folder`, once for its content; its path, "" where there is nothing to make it of.
    `bin`: the folder of a twin's; else the front end's client is made a command. OSError when it cannot be made."""
    if bin:
        return _make(folder, "names", [bin], lambda made, place: _links(made, bin))
    names = getattr(front, "CLIENT", ())
    if not names:
        return ""
    python, shell = python or sys.executable, site.shell_path()
    files = {name: _data(front, name) for name in names}
    return _make(folder, "bin", [sorted(files.items()), _LAUNCHER, python, shell],
                 lambda made, place: _launchers(made, place, files, front, python, shell))


def _make(folder, kind, content, fill):
    name = kind + "-" + lean.sha256(repr((content, _START)).encode()).hexdigest()[:16]
    place = os.path.join(folder, name)
    if os.path.isdir(place):
        return place
    made = place + ".new"
    if os.path.isdir(made):  # a start before this one did not come to its end
        import shutil

        shutil.rmtree(made)
    os.mkdir(made)
    fill(made, place)
    _write(os.path.join(made, START_FILE), _START % {"place": quoted(place)})
    for path, _folders, found in os.walk(made):
        for name in found:
            at = os.path.join(path, name)
            if not os.path.islink(at):
                os.chmod(at, 0o755 if name == _NAMES[0] else 0o644)
        os.chmod(path, 0o755)
    os.rename(made, place)
    return place


def sweep(folder, kept):
    """Remove what agents of earlier releases made below `folder` for jobs elsewhere, but not the paths `kept`."""
    import shutil

    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if _is_made(name) and path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def _links(made, bin):
    for name in _NAMES:
        os.symlink(os.path.join(bin, name), os.path.join(made, name))


def _data(front, name):
    """A file that lies beside the front end's module. OSError if there is none."""
    return front.__spec__.loader.get_data(os.path.join(os.path.dirname(front.__file__), name))


def _launchers(made, place, files, front, python, shell):
    names = front.CLIENT
    for name, data in files.items():
        path = os.path.join(made, name)
        with open(path, "wb") as stream:
            stream.write(data)
        # users cannot write byte code there, and would wait for the compiler each time; we would, too, where it came along
        if not _bring_code(front, name, path):
            import py_compile

            py_compile.compile(path, dfile=os.path.join(place, name))
    how = shell + " -p" if shell.endswith("bash") else shell
    text = _LAUNCHER % {"shell": how, "python": quoted(python), "client": quoted(os.path.join(place, names[0]))}
    _write(os.path.join(made, _NAMES[0]), text)
    for name in _NAMES[1:]:
        os.symlink(_NAMES[0], os.path.join(made, name))


def _bring_code(front, name, path):
    """Put the byte code that lies beside the front end's file where Python looks for it; False if there is none for this Python."""
    try:
        code = _data(front, name + "c")
    except OSError:
        return False
    if code[:4] != _bootstrap_external.MAGIC_NUMBER or code[4:8] != _UNCHECKED:
        return False
    cache = _bootstrap_external.cache_from_source(path)
    os.makedirs(os.path.dirname(cache), exist_ok=True)
    with open(cache, "wb") as stream:
        stream.write(code)
    return True


def _write(path, text):
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(text)


def profile(etc="/etc"):
    """For root, on a node elsewhere: what login shells of other kinds read, too. OSError."""
    folder = os.path.join(etc, "profile.d")
    path = os.path.join(folder, "zz-sbroker.sh")
    if os.path.isdir(folder) and not os.path.exists(path):
        _write(path + ".new", PROFILE)
        os.chmod(path + ".new", 0o644)
        os.rename(path + ".new", path)


def quoted(text):
    """One word of a shell's line."""
    return "'" + text.replace("'", "'\\''") + "'"


def offer(sup, env, shell=""):
    """Change `env` (str → str) so that srun is found in its PATH, and is ours: the one of another Slurm knows nothing of this job; and so
    that it stays so in shells. `shell`: the name of one that will talk with somebody at a terminal."""
    info = sup.info
    place = (info.get("here") or {}).get("bin") or ""
    found, path = tasks.find("srun", env), env.get("PATH") or "/usr/local/bin:/usr/bin:/bin"
    if not place:
        return
    if not found:
        # on a twin the whole folder: there is more than these names in it
        whole = info.get("bin") if sup.software.twin and os.path.isdir(info.get("bin") or "") else place
        env["PATH"] = path + ":" + whole
    elif os.path.realpath(found) != os.path.realpath(os.path.join(place, "srun")):
        env["PATH"] = place + ":" + path
    start = os.path.join(place, START_FILE)
    known = env.get("BASH_ENV")
    if known and os.path.basename(known) != START_FILE:
        env["SBROKER_BASH_ENV"] = known
    env["BASH_ENV"] = env["SBROKER_ENV"] = start
    if shell == "bash" and "$SBROKER_ENV" not in env.get("PROMPT_COMMAND", ""):
        env["PROMPT_COMMAND"] = '. "$SBROKER_ENV"' + ("; " + env["PROMPT_COMMAND"] if env.get("PROMPT_COMMAND") else "")
