"""The batch script: its files, its environment, its process, and what Slurm says when one of them cannot be had."""

import errno
import os
import stat

from . import commands, site, tasks

STEP = -5  # the batch script's number among the steps
LAUNCH_SIGNAL = 53  # Slurm's exit code of a batch job whose files could not be opened: 0:53
_LOGIN_TIMEOUT = 8.0


class Batch:
    """Lives in the head's supervisor of a run of kind "batch"."""

    def __init__(self, sup):
        self.sup = sup
        self.process = None
        self.spool = None  # where the output of a run goes whose files are elsewhere
        self._stderr = -1

    def launch(self):
        """Start the script, or report why it cannot be."""
        sup = self.sup
        environ = site.parse(sup.rundir.record()[1] if sup.environ is None else sup.environ)
        environ = sup.front.submitted_environ(sup.info, sup.node, environ)
        environ = sup.places.with_software(sup.places.environ_there(environ))
        if sup.info["spec"].get("get_user_env"):
            self._login_environ(environ)
        else:
            self._run(environ)

    def _run(self, user_env):
        sup, spec = self.sup, self.sup.info["spec"]
        os.umask(spec.get("umask", 0o022))
        share = sup.share
        memory = share.get("mem", 0)
        sup.report("step_start", {"step": STEP, "name": "batch", "nodes": [sup.node], "ntasks": 1, "cpus": share["cpus"], "mem": memory})
        if not sup.info.get("streamed"):
            return self._opened(user_env, None)
        out, err = outputs(sup.info, sup.front, sup.node)
        from .spool import Spool  # not at the agent's start

        self.spool = Spool(sup, 1 if out == err else 2)
        self.spool.open(lambda error: self._opened(user_env, error))

    def _opened(self, user_env, error):
        """The output can go where it belongs, or not."""
        sup, spec = self.sup, self.sup.info["spec"]
        if sup.over:
            return  # the run was ended meanwhile
        try:
            files = self._files(spec)
        except OSError as failure:
            error = error or f"{failure.filename}: {failure.strerror}"
        if error is not None:
            return self._over(0, LAUNCH_SIGNAL, "launch", error, {})
        self._stderr = os.dup(files[2]) if isinstance(files[2], int) else -1
        work_dir = spec.get("work_dir", "/")
        env = sup.front.batch_environ(sup.info, sup.node, user_env)
        software = sup.software
        if not software.wanted():
            return self._execute(env, files)

        def ready(error):
            if sup.over:
                return _close(files)  # the run was ended meanwhile
            if error is not None:
                _close(files)
                self.say(sup.front.notice("site", {"node": sup.node, "error": error}))
                return self._over(1, 0, "setup", f"{sup.node}: {error}", {})
            self._execute(software.apply(env, sup.front.exported_names(sup.info)), files)

        software.prepare(env, work_dir, self._stderr if self._stderr >= 0 else 2, ready)

    def _execute(self, env, files):
        """The script itself, in its environment, with 0, 1, 2 as `_files` gave them."""
        sup, spec, node = self.sup, self.sup.info["spec"], self.sup.node
        share = sup.share
        script = sup.rundir.file("slurm_script")
        work_dir = spec.get("work_dir", "/")
        try:
            plan = tasks.Plan(
                [script] + list(spec.get("script_args", ())), self._environ(env), work_dir, files, session=True,
                limits=spec.get("limits") if sup.software.twin else None, memory=share.get("mem", 0), pid_names=("SLURM_TASK_PID",),
                # Slurm says it twice: once for its own process, once for the task
                chdir_failed=lambda error: 2 * sup.front.notice("chdir", {"node": node, "path": work_dir, "error": error.strerror}),
                exec_failed=lambda error: sup.front.notice("execve", {"node": node, "path": _blamed(script, error), "error": error.strerror}),
            )
            self.process = sup.spawn(plan, self._ended)
        except OSError as error:
            return self._over(0, LAUNCH_SIGNAL, "launch", f"{error.filename or 'fork'}: {error.strerror}", {})
        finally:
            _close(files)
            if self.spool is not None:
                self.close()
                self.spool.close_write_ends()
        sup.ending.memory_limit(None, share.get("mem", 0) << 20)

    def _ended(self, process):
        self._over(process.code, process.signal, "signal" if process.signal else "exit", "", process.usage)

    def _over(self, code, signum, why, error, usage):
        state = "CANCELLED" if signum else "FAILED" if code else "COMPLETED"
        self.sup.report("step_end", {"step": STEP, "code": code, "signal": signum, "state": state, "usage": usage})
        self.sup.ending.script_ended(code, signum, why, error, usage)

    def _files(self, spec):
        """0, 1, 2 as the user opens them, as tasks.Plan takes them; OSError with the file's name. A named pipe is opened by the script's
        own process: it waits there for the other end, and this process must go on hearing orders meanwhile."""
        sup = self.sup
        out, err = outputs(sup.info, sup.front, sup.node)
        how = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if spec.get("open_mode") == "append" else os.O_TRUNC)
        opened = []
        try:
            opened.append(_open(standard_input(sup.info, sup.front, sup.node) or os.devnull, os.O_RDONLY))
            if self.spool is not None:
                return opened + [os.dup(stream.write_end) for stream in (self.spool.streams[0], self.spool.streams[-1])]
            opened.append(_open(out, how))
            # one description for both when they are one file: neither writes over the other
            if err != out:
                opened.append(_open(err, how))
            else:
                opened.append(os.dup(opened[1]) if isinstance(opened[1], int) else 1)
        except OSError:
            _close(opened)
            raise
        return opened

    def _environ(self, env):
        commands.offer(self.sup, env)
        return env

    def _login_environ(self, environ):
        """--get-user-env: what a login shell of the user exports here, under what the job sends along."""
        sup, user = self.sup, self.sup.info["user"]
        path = sup.rundir.file("login.env")
        shell = user.get("shell") or "/bin/sh"
        out = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        null = os.open(os.devnull, os.O_RDWR)
        home = user.get("home", "/")
        base = {"HOME": home, "USER": user["name"], "LOGNAME": user["name"], "SHELL": shell, "PATH": "/usr/local/bin:/usr/bin:/bin"}
        login = ["-" + os.path.basename(shell), "-c", "env -0"]
        plan = tasks.Plan(login, base, home, (null, out, null), path=shell, session=True, chdir_failed=lambda _error: b"")

        def captured(process):
            timer.cancel()
            found = site.parse(os.pread(out, 4 << 20, 0)) if process.status == 0 else {}
            os.close(out)
            if sup.over:
                return  # the run was ended meanwhile
            self._run(dict(found, **environ))

        try:
            process = sup.spawn(plan, captured)
        finally:
            os.close(null)
        timer = sup.loop.call_later(_LOGIN_TIMEOUT, lambda: process.kill(9))

    def close(self):
        """The run is over: nothing more will be said."""
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1

    def say(self, text):
        """Bytes into the script's standard error; nothing if it was never opened."""
        if self.spool is not None:
            return self.spool.say(text)
        if self._stderr < 0:
            return
        try:
            os.write(self._stderr, text)
        except OSError as error:
            self.sup.report("notice", {"text": f"writing to the job's standard error: {error.strerror}"})


def outputs(info, front, node):
    """Paths of the batch script's standard output and error on the submit host, the same one for both where they are one file."""
    path, spec = _pattern(info, front, node), info["spec"]
    out = path(spec.get("stdout") or ("slurm-%A_%a.out" if info.get("array") else "slurm-%j.out"))
    return out, path(spec["stderr"]) if spec.get("stderr") else out


def standard_input(info, front, node):
    """Path of the batch script's standard input, None for none."""
    given = info["spec"].get("stdin")
    return _pattern(info, front, node)(given) if given else None


def _pattern(info, front, node):
    array = info.get("array") or {}
    fields = {"job": info["job"], "name": info["name"], "user": (info.get("owner") or info["user"])["name"], "node": node, "node_index": 0, "rank": 0,
              "step": "batch", "imitate": info.get("imitate", ""), "array_id": array.get("id"), "array_task": array.get("task")}
    return lambda pattern: os.path.join(info["spec"].get("work_dir", "/"), front.filename(pattern, fields))


def _open(path, how):
    """A descriptor, or (path, flags) of a named pipe."""
    try:
        if stat.S_ISFIFO(os.stat(path).st_mode):
            return path, how
    except FileNotFoundError:
        pass  # then it will be a plain file
    return os.open(path, how, 0o666)


def _close(files):
    for fd in files:
        if isinstance(fd, int) and fd > 2:
            os.close(fd)


def _blamed(script, error):
    """What execve's error is about: a script that is there has an interpreter that is not."""
    if error.errno == errno.ENOENT:
        with open(script, "rb") as stream:
            first = stream.readline(256)
        if first.startswith(b"#!"):
            return "bad interpreter(" + (first[2:].split() or [b""])[0].decode("utf-8", "replace") + ")"
    return script
