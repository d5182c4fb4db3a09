"""Virtual and conda environments: brought over by content, as they are, and made to work where they lie.

At its own path an environment needs nothing but its interpreter. Where that path cannot be had a virtual environment is moved: the paths in its scripts,
in pyvenv.cfg and in *.pth are rewritten. A conda environment cannot be moved: its path is in its binaries.
"""

import functools
import os
import re

from .transfer import Failed
from .tree import native, text

_MOST = 1 << 20  # bytes of a script that is looked into
_PROBE = "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"
_PATIENCE = 60  # seconds for an interpreter to say its version
_USUAL = ("/usr/bin", "/usr/local/bin", "/bin")


class Everything:
    """A filter (manifest.Walk) that leaves nothing out: an environment is staged as it is."""

    def enter(self, path, names, read):
        return None

    def wanted(self, path, is_folder):
        return True

    def passing(self, path):
        return False

    def hidden(self, path, is_folder):
        return False


def settings(path):
    """pyvenv.cfg as {key: value}; {} if there is none."""
    try:
        with open(os.path.join(path, "pyvenv.cfg"), encoding="utf-8", errors="surrogateescape") as stream:
            rows = [line.partition("=") for line in stream]
    except OSError:
        return {}
    return {key.strip().lower(): value.strip() for key, equals, value in rows if equals}


def needed(root, options):
    """The roots to bring over for the environment `root`, in order: also the interpreter that it was made with, if that lies in the user's home
    folder (pyenv, uv, a private installation). Failed if there is no environment."""
    path = native(root["path"])
    known = settings(path)
    if not known and not os.path.isdir(os.path.join(path, "conda-meta")):
        raise Failed("%s is no virtual environment (no pyvenv.cfg) and no conda environment (no conda-meta)" % path)
    roots = [root]
    base = os.path.dirname(os.path.realpath(known["home"])) if known.get("home") else ""
    home = os.path.realpath(native(options["home"])).rstrip("/") + "/" if options.get("home") else None
    if home is not None and base.startswith(home) and not (path + "/").startswith(base + "/"):
        roots.insert(0, {"path": text(os.fsencode(base)), "what": "env"})
        named = os.path.dirname(known["home"])
        if named != base and named.startswith("/"):
            roots.insert(0, {"path": text(os.fsencode(named)), "what": "env"})
    return roots


def settle(path, at, moves, node):
    """Make the environment of `path` work at `at`, on the node. `moves`: (path, where it is) of other roots that could not have theirs.
    Returns (notes, what the job's environment needs: see the contract's "env"). Failed with a sentence if it cannot work here."""
    path, at, moves = native(path), native(at), [(native(old), native(new)) for old, new in moves]
    known = settings(at)
    moves = [*moves, (path, at)] if at != path else list(moves)
    if not known:
        if not os.path.isdir(os.path.join(at, "conda-meta")):
            return [], {}  # an interpreter that came along with an environment
        if at != path:
            raise Failed("the conda environment %s works only at its own path, and that cannot be made on %s: make the folder there, or use a virtual "
                         "environment" % (path, node))
        _version(os.path.join(at, "bin", "python"), path, node)
        return [], {}
    notes = _find_interpreter(path, at, known, moves, node)
    if moves:
        _rewrite(at, moves)
    want, found = _wanted(known), _version(os.path.join(at, "bin", "python"), path, node)
    if want and found != want:
        raise Failed("the environment %s was made with Python %s, and on %s its interpreter is Python %s" % (path, want, node, found))
    if at == path:
        return notes, {}
    names = [text(os.fsencode(os.path.join(each, "bin"))) for each in (path, at)]
    return notes, {"VIRTUAL_ENV": text(os.fsencode(at)), "PATH": [names]}


def add_to(env, more):
    """Add one environment's needs to those of all."""
    for key, value in more.items():
        env[key] = env.get(key, []) + value if key == "PATH" else value


def _wanted(known):
    """The version that an environment was made with, "3.11", or ""."""
    match = re.match(r"(\d+\.\d+)", known.get("version") or known.get("version_info") or "")
    return match.group(1) if match else ""


def _version(python, path, node):
    """What an interpreter says of itself. Failed if it does not run."""
    import subprocess

    try:
        done = subprocess.run([python, "-I", "-S", "-c", _PROBE], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=_PATIENCE)
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if done.returncode == 0:
            return done.stdout.decode("ascii", "replace")
        reason = said[-1] if said else "exit code %d" % done.returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise Failed("the environment %s does not work on %s: its python does not run there (%s)" % (path, node, reason))


def _find_interpreter(path, at, known, moves, node):
    """Let bin/python lead to an interpreter of the right version, the one it was made with if that is here. Notes."""
    link = os.path.join(at, "bin", "python")
    if os.path.exists(link) and not moves:
        return []
    want = _wanted(known)
    names = ["python" + want, "python3", "python"] if want else ["python3", "python"]
    home = _moved(known.get("home", ""), moves)
    for folder in [home] + [each for each in os.environ.get("PATH", "").split(":") + list(_USUAL) if each.startswith("/") and not each.startswith(at + "/")]:
        for name in names if folder == home else names[:1]:
            found = os.path.join(folder, name)
            if not os.access(found, os.X_OK) or (want and _try_version(found) != want):
                continue
            _relink(os.path.join(at, "bin"), found)
            if folder == known.get("home"):
                return []
            _replace(os.path.join(at, "pyvenv.cfg"), functools.partial(re.sub, rb"(?m)^(home\s*=).*$", rb"\1 " + os.fsencode(folder).replace(b"\\", rb"\\")))
            return [] if folder == home else ["the environment %s uses %s on %s: there is no Python in %s" % (path, found, node, known.get("home"))]
    raise Failed("the environment %s was made with Python %s in %s, and %s has no Python %s: install it there, or make the environment with one that is "
                 "in your home folder" % (path, want or "3", known.get("home", "?"), node, want or "3"))


def _try_version(python):
    try:
        return _version(python, "", "")
    except Failed:
        return ""


def _moved(path, moves):
    for old, new in moves:
        if path == old or path.startswith(old + "/"):
            return new + path[len(old) :]
    return path


def _relink(folder, python):
    """Point those of an environment's names for Python that lead nowhere, or out of it, to `python`."""
    for name in os.listdir(folder):
        link = os.path.join(folder, name)
        if re.match(r"python[0-9.]*$", name) and os.path.islink(link) and os.readlink(link).startswith("/") and os.readlink(link) != python:
            temporary = link + ".new"
            os.symlink(python, temporary)
            os.rename(temporary, link)


def _rewrite(at, moves):
    """Replace the old paths in what an environment says about itself."""
    # not in the middle of a path: where it lies now ends with where it was
    pairs = [(re.compile(rb"(?<![\w./-])" + re.escape(os.fsencode(old)) + rb"(?=[/\"'\s:;)]|\Z)"), os.fsencode(new)) for old, new in moves]

    def renamed(text):
        for pattern, new in pairs:
            text = pattern.sub(lambda match, new=new: new, text)
        return text

    for folder, _, names in os.walk(at):
        inside = os.path.basename(folder)
        for name in names:
            file = os.path.join(folder, name)
            if folder in (at, os.path.join(at, "bin")) or (inside in ("site-packages", "dist-packages") and name.endswith((".pth", ".egg-link"))):
                _replace(file, renamed)
    for name in os.listdir(os.path.join(at, "bin")):
        link = os.path.join(at, "bin", name)
        if os.path.islink(link) and _moved(os.readlink(link), moves) != os.readlink(link):
            target = _moved(os.readlink(link), moves)
            os.unlink(link)
            os.symlink(target, link)


def _replace(path, change):
    """Change a small text file as a whole; it keeps its permissions and its time, so that the next sync does not take it for a new one."""
    if os.path.islink(path):
        return
    try:
        found = os.stat(path)
        if found.st_size > _MOST:
            return
        with open(path, "rb") as stream:
            text = stream.read()
    except OSError:
        return
    changed = text if b"\0" in text else change(text)
    if changed == text:
        return
    temporary = path + ".new"
    with open(temporary, "wb") as stream:
        stream.write(changed)
    os.chmod(temporary, found.st_mode & 0o777)
    os.utime(temporary, ns=(found.st_atime_ns, found.st_mtime_ns))
    os.rename(temporary, path)
