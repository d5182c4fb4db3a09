"""--task-prolog and --task-epilog: a program before and after each task of a step, as the user.

What a prolog prints decides: "export NAME=value" and "unset NAME" change the task's environment, "print TEXT" goes to its standard output.
"""

import os

from . import tasks
from .loop import Stream

_ALLOWED = 1 << 20  # bytes of a prolog's output that are looked at


def runnable(path):
    """None, or the OSError that executing `path` would give."""
    if os.access(path, os.X_OK) and not os.path.isdir(path):
        return None
    code = 13 if os.path.exists(path) else 2
    return OSError(code, os.strerror(code))


def prolog(node_step, path, env, cwd, then):
    """Run `path`; then `then(environment or None, text for standard output, text for standard error)`."""
    sup = node_step.sup
    error = runnable(path)
    if error is not None:
        fields = {"node": sup.node, "path": path, "error": error.strerror, "status": 1}
        said = b"".join(sup.front.notice(kind, fields) for kind in ("task_prolog_missing", "task_prolog_reason", "task_prolog_failed"))
        return then(None, b"", said)
    low, high = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    got: list = []
    state = {"left": 2, "status": 0}

    def part():
        state["left"] -= 1
        if state["left"]:
            return
        if state["status"]:
            code = state["status"] >> 8 if not state["status"] & 0x7F else 128 + (state["status"] & 0x7F)
            return then(None, b"", sup.front.notice("task_prolog_failed", {"node": sup.node, "status": code}))
        changed, text = apply(b"".join(got), env)
        then(changed, text, b"")

    def ended(process):
        state["status"] = process.status
        part()

    def data(piece):
        if sum(len(one) for one in got) < _ALLOWED:
            got.append(piece)

    Stream(sup.loop, low, data, lambda _error: part())
    try:
        node_step.pids.add(
            sup.spawn(
                tasks.Plan([path], env, cwd, (null, high, null), session=True, step=node_step.step, chdir_failed=lambda _error: b""), ended
            ).pid
        )
    finally:
        os.close(high)
        os.close(null)


def apply(output, env):
    """(changed environment, text to print) of what a prolog wrote."""
    env, printed = dict(env), []
    for line in output.decode("utf-8", "surrogateescape").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "export":
            name, equals, value = rest.strip().partition("=")
            if equals and name:
                env[name] = value
        elif word == "unset":
            env.pop(rest.strip(), None)
        elif word == "print":
            printed.append(rest + "\n")
    return env, "".join(printed).encode("utf-8", "surrogateescape")


def epilog(node_step, path, env, cwd, fds, then):
    """Run `path` with the task's own output; `then()` when it has ended. Takes over `fds`, (1, 2) of the task."""
    sup = node_step.sup
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        if runnable(path) is not None:
            for kind in ("task_epilog_denied", "task_epilog_failed"):
                os.write(fds[1], sup.front.notice(kind, {"node": sup.node, "path": path, "status": -1}))
            return then()
        try:
            process = sup.spawn(
                tasks.Plan([path], env, cwd, (null, *fds), session=True, step=node_step.step, chdir_failed=lambda _error: b""),
                lambda _process: then(),
            )
        except RuntimeError:
            return then()  # the run is over: nothing starts any more
        node_step.pids.add(process.pid)
    finally:
        os.close(null)
        for fd in fds:
            os.close(fd)
