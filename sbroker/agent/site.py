"""The software of a site, as its keys `env`, `modules` and `setup` say: run once for a run on a node, as Slurm runs a TaskProlog.

What the shell that ran them exports at its end is compared with what it began with; the difference is kept, so that no task pays for it
again. The site's word goes before the environment that came along, and what the user named with --export goes before both.

Also what a login on this machine finds in PATH (`LoginPath`), for jobs that come without the submit host's.
"""

import os

from . import errand, tasks

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOBODY = 65534
_PATIENCE = 10.0  # seconds for /etc/profile
_SHELL_OWN = ("PWD", "OLDPWD", "SHLVL", "_", "SBROKER_SOCKET")  # say nothing about the software
_MOST = 4 << 20

# $1: file for what is exported at the end, or for a "!" and why there is nothing; $2: the setup; then modules
_SCRIPT = r"""
__sbroker_file=$1 __sbroker_setup=$2
shift 2
if [ $# -gt 0 ] && ! type module >/dev/null 2>&1; then
    for __sbroker_init in "${MODULESHOME:-/nonexistent}/init/bash" /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh \
        /etc/profile.d/modules.sh /usr/share/lmod/lmod/init/bash /usr/share/modules/init/bash /usr/share/Modules/init/bash \
        /opt/apps/lmod/lmod/init/bash; do
        [ -r "$__sbroker_init" ] && . "$__sbroker_init"
        type module >/dev/null 2>&1 && break
    done
    if ! type module >/dev/null 2>&1; then
        [ -r /etc/profile ] && . /etc/profile
    fi
    if ! type module >/dev/null 2>&1; then
        printf '!the key modules asks for module load, and there is no module command on this node' >"$__sbroker_file"
        exit 1
    fi
fi
for __sbroker_module in "$@"; do
    __sbroker_before=$LOADEDMODULES
    module load "$__sbroker_module"
    __sbroker_status=$?
    case ":$LOADEDMODULES:" in
    *":$__sbroker_module:"* | *":$__sbroker_module/"*) ;;
    *) [ "$LOADEDMODULES" = "$__sbroker_before" ] && __sbroker_status=1 ;; # module load that failed and did not say so
    esac
    if [ "$__sbroker_status" -ne 0 ]; then
        printf '!module load %s failed' "$__sbroker_module" >"$__sbroker_file"
        exit 1
    fi
done
eval "$__sbroker_setup"
__sbroker_status=$?
if [ "$__sbroker_status" -ne 0 ]; then
    printf '!its setup ended with exit code %d' "$__sbroker_status" >"$__sbroker_file"
    exit 1
fi
/bin/cat /proc/self/environ >"$__sbroker_file"
"""


class Failed(Exception):
    """A sentence: why no job can start here as the site's keys want it."""


class Site:
    """The software of one run's site on this node; lives in the supervisor."""

    def __init__(self, sup):
        self.sup = sup
        self.keys = of_node(sup.info, sup.node)
        self._changes = None  # name → value, None for one that was taken away; None: not known yet
        self._error = None
        self._waiting = []
        self._running = False

    @property
    def twin(self):
        return self.keys.get("twin", True)

    @property
    def name(self):
        return self.keys.get("name", "")

    def wanted(self):
        """Whether the site's keys change anything at all."""
        return bool(self.keys.get("setup") or self.keys.get("modules") or self.keys.get("env"))

    def prepare(self, env, cwd, err, then):
        """Call `then(None)` when `apply` may be used, or `then(sentence)` when it failed; at once where nothing has to be run.
        env, cwd: what the shell begins with; err: descriptor for what it says, which the caller keeps."""
        if self._changes is None and self._error is None and not (self.keys.get("setup") or self.keys.get("modules")):
            self._changes = {}
        if self._changes is not None or self._error is not None:
            return then(self._error)
        self._waiting.append(then)
        if not self._running:
            self._running = True
            try:
                self._run(env, cwd, err)
            except (OSError, RuntimeError) as error:
                self._done(f"its setup cannot be run: {error}", {})

    def apply(self, env, named):
        """`env` as the site wants it, a new dict. `named`: the variables that the user named, None for all: they stay as they are."""
        changed = dict(env, **self.keys.get("env", {}))
        for name, value in (self._changes or {}).items():
            if value is None:
                changed.pop(name, None)
            elif isinstance(value, tuple):  # folders put around a list: around whatever the list is this time
                changed[name] = value[0] + changed[name] + value[1] if changed.get(name) else (value[0].rstrip(":") + value[1]).strip(":")
            else:
                changed[name] = value
        for name in env if named is None else named:
            if name in env and name != "PATH":
                changed[name] = env[name]
        return changed

    def _run(self, env, cwd, err):
        sup = self.sup
        before = dict(env, **self.keys.get("env", {}))
        path = sup.rundir.file("site.env")
        out = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        shell = shell_path()
        argv = [shell, *(("--norc", "--noprofile") if shell.endswith("bash") else ()), "-c", _SCRIPT, "sbroker-setup", path,
                self.keys.get("setup") or "", *self.keys.get("modules", ())]
        plan = tasks.Plan(argv, dict(before), cwd, (null, err, err), session=True, chdir_failed=lambda _error: b"")

        def captured(process):
            try:
                data = os.pread(out, _MOST, 0)
            finally:
                os.close(out)
            if data.startswith(b"!"):
                return self._done(data[1:].decode("utf-8", "replace"), {})
            if process.status or not data:
                how = f"was ended by signal {process.signal}" if process.signal else f"ended with exit code {process.code}"
                return self._done(f"its setup {how} before its end", {})
            self._done(None, difference(before, parse(data)))

        try:
            sup.spawn(plan, captured)
        except BaseException:
            os.close(out)
            raise
        finally:
            os.close(null)

    def _done(self, error, changes):
        if error:
            self._error = f"site {self.name}: {error}"
        else:
            self._changes = changes
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(self._error)


def of_node(info, node):
    """The keys of a node's site as the run's description has them; {} for one that says nothing."""
    name = next((share.get("site") or "" for share in info["nodes"] if share["node"] == node), "")
    return (info.get("sites") or {}).get(name, {})


def parse(data):
    """NUL-ended KEY=value items as a dict of str (surrogates for other bytes)."""
    env = {}
    for item in data.split(b"\0"):
        key, sep, value = item.partition(b"=")
        if sep and key:
            env.setdefault(key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
    return env


def difference(before, after):
    """What a shell changed: name → value, None for what is gone, (before, after) for what was put around a list of folders."""
    changes = {}
    for name, value in after.items():
        old = before.get(name)
        if old and ":" in value and (":" + value + ":").find(":" + old + ":") >= 0 and value != old:
            at = (":" + value).find(":" + old)
            changes[name] = (value[:at], value[at + len(old) :])
        elif old != value:
            changes[name] = value
    changes.update((name, None) for name in before if name not in after)
    return {name: value for name, value in changes.items() if name not in _SHELL_OWN and not name.startswith("__sbroker_")}


def shell_path():
    """bash, else the shell that every machine has."""
    return next((path for path in ("/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash") if os.access(path, os.X_OK)), "/bin/sh")


class LoginPath:
    """PATH as a login on this machine has it: what PAM and sshd give, and what /etc/profile makes of it, run once, as nobody."""

    def __init__(self, loop, root="/"):
        self.value = configured_path(root)
        profile = os.path.join(root, "etc/profile")
        if os.access(profile, os.R_OK):
            try:
                shell = shell_path()
                env = {"PATH": self.value, "HOME": "/", "USER": "nobody", "LOGNAME": "nobody", "SHELL": shell}
                argv = [shell, "-c", '. "$0"; printf %s "$PATH" >&3', profile]
                errand.command(loop, argv, env, self._told, _PATIENCE, _become_nobody if os.geteuid() == 0 else None)
            except OSError:
                return  # no process to be had now: what is configured is good enough

    def _told(self, said):
        path = said.decode("utf-8", "surrogateescape")
        if path.startswith("/") and "\n" not in path:
            self.value = path


def _become_nobody():
    os.setgroups([])
    os.setgid(_NOBODY)
    os.setuid(_NOBODY)


def configured_path(root="/"):
    """PATH of /etc/environment (PAM), else of /etc/login.defs, else the usual one."""
    for name, key in (("etc/environment", "PATH="), ("etc/login.defs", "ENV_PATH")):
        try:
            with open(os.path.join(root, name), encoding="utf-8", errors="surrogateescape") as stream:
                lines = stream.read().splitlines()
        except OSError:
            continue
        for line in lines:
            words = line.strip()
            if words.startswith("export "):
                words = words[7:].lstrip()
            if words.startswith(key):
                value = words[len(key):].strip().strip("\"'")
                value = value[5:] if value.startswith("PATH=") else value
                if value.startswith("/") and "$" not in value:
                    return value
    return DEFAULT_PATH
