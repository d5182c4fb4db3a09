"""What a login on a node runs: bring the agent there, wake it, and be the byte stream between the broker and it.

The text of this file is what `python3 -c` gets (`transports/ssh.py`): it must stand alone, and its first lines must run under any
Python, to say that it is too old. Speaks with the broker over its own standard streams: a line of JSON each way, then bytes.

    broker -> {"base", "store", "node", "hash", "magic", "serve": [options of `serve`]}
    node   -> {"want": "pack" or "pyz"}, when its program is not there
    broker -> {"size", "digest"}, and that many bytes
    node   -> {"ready": true} and from there on what the agent says, or {"error": sentence}
"""

import os
import sys

if sys.version_info < (3, 6):
    sys.exit(125)  # the shell looks for another one

import _frozen_importlib_external as importing
import errno
import gc
import hashlib
import json
import marshal
import socket
import time
import zlib

_PIECE = 1 << 16
_PATIENCE = 20.0  # seconds for an agent that another login is just starting


def main():
    """Until the broker or the agent hangs up."""
    try:
        asked = json.loads(_line().decode())
        base = os.path.expanduser(asked["base"])
        program = _program(base, asked)
        folder = os.path.join(base, asked["store"], asked["node"])
        os.makedirs(folder, exist_ok=True)
        agent = _agent(folder, program, asked)
    except OSError as error:
        return _say({"error": "%s: %s" % (error.filename, error.strerror) if error.filename else str(error)})
    except ValueError as error:
        return _say({"error": str(error)})
    _say({"ready": True})
    _join(agent)


def _line():
    """One line from the broker, and not a byte more."""
    line = b""
    while not line.endswith(b"\n"):
        got = os.read(0, 1)
        if not got:
            raise ValueError("the broker hung up")
        line += got
    return line


def _say(header):
    os.write(1, json.dumps(header).encode() + b"\n")


def _program(base, asked):
    """Path of the agent's program, brought here when it is missing: byte code where this Python is the broker's, else a zip archive."""
    magic = "".join("%02x" % byte for byte in importing.MAGIC_NUMBER)
    form = "pack" if magic == asked["magic"] else "pyz"
    path = os.path.join(base, "agent-%s%s.%s" % (asked["hash"], "-" + magic if form == "pack" else "", form))
    if os.path.exists(path):
        return path
    os.makedirs(base, exist_ok=True)
    if os.geteuid() == 0:
        os.chmod(base, 0o755)  # users read the programs and reach their own runs, whatever root's umask is
    _say({"want": form})
    told = json.loads(_line().decode())
    data = b""
    while len(data) < told["size"]:
        piece = os.read(0, min(told["size"] - len(data), _PIECE))
        if not piece:
            raise ValueError("the broker hung up")
        data += piece
    if hashlib.sha256(data).hexdigest() != told["digest"]:
        raise ValueError("the agent's program did not come whole")
    temporary = "%s.%d.new" % (path, os.getpid())
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
        os.chmod(temporary, 0o755)
        os.rename(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    return path


def _load(program):
    """The agent's modules can be imported."""
    if program.endswith(".pyz"):
        sys.path.insert(0, program)
        return
    with open(program, "rb") as stream:
        content = marshal.loads(stream.read())
    names = {"__name__": "unpack"}
    exec(marshal.loads(zlib.decompress(content["start"])), names)
    names["install"](program, content)


def _agent(folder, program, asked):
    """A connection to the agent of `folder`, which is started when nobody serves there."""
    path = os.path.join(folder, "agent.sock")
    until = time.monotonic() + _PATIENCE
    while True:
        agent = _connect(path)
        if agent is not None:
            return agent
        if not _start(folder, program, asked):  # somebody else is starting it, or it cannot be
            if time.monotonic() > until or not os.path.exists(os.path.join(folder, "lock")):
                raise ValueError("the agent does not start: " + _last_words(folder))
            time.sleep(0.05)


def _connect(path):
    agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    here = -1
    try:
        if len(path) > 100:  # an address holds 107 bytes: go by the folder
            here = os.open(os.path.dirname(path), os.O_RDONLY)
            path = "/proc/self/fd/%d/%s" % (here, os.path.basename(path))
        agent.connect(path)
        return agent
    except OSError as error:
        agent.close()
        if error.errno not in (errno.ENOENT, errno.ECONNREFUSED):
            raise
    finally:
        if here >= 0:
            os.close(here)


def _start(folder, program, asked):
    """Fork the agent; True once it answers, False if it ended instead."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(told)
            _serve(folder, program, asked, tell)
        finally:
            os._exit(1)
    os.close(tell)
    os.waitpid(child, 0)  # it only forks
    try:
        return os.read(told, 1) == b"+"
    finally:
        os.close(told)


def _serve(folder, program, asked, tell):
    """In the child: the agent itself, in a session of its own, with nothing of this login's but its user."""
    os.setsid()
    if os.fork():
        os._exit(0)
    log = os.open(os.path.join(folder, "agent.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, fd in enumerate((null, log, log)):
        os.dup2(fd, number)
    os.chdir("/")
    home = os.environ.get("HOME", "/")
    os.environ.clear()
    os.environ.update(PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LANG="C.UTF-8", HOME=home)
    os.umask(0o022)
    gc.disable()
    _load(program)
    sys.argv[0] = program  # what the process is called in lists
    from sbroker.agent.__main__ import main as agent

    sys.exit(agent(["serve", "--dir", folder, "--node", asked["node"], "--ready", str(tell), "--program", asked["hash"]] + asked.get("serve", [])))


def _last_words(folder):
    try:
        with open(os.path.join(folder, "agent.log"), errors="replace") as stream:
            return (stream.read().strip().splitlines() or ["it says nothing"])[-1]
    except OSError as error:
        return str(error)


def _join(agent):
    """Bytes both ways; the login ends with the first that hangs up."""
    import _thread

    def up():
        try:
            while True:
                data = os.read(0, _PIECE)
                if not data:
                    break
                agent.sendall(data)
        except OSError:
            pass
        os._exit(0)

    _thread.start_new_thread(up, ())
    try:
        while True:
            data = agent.recv(_PIECE)
            if not data:
                break
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]
    except OSError:
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
