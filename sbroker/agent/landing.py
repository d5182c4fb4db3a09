"""What a login on a node runs: bring the agent there, wake it, and be the byte stream between the broker and it.

The text of this file is what `python3 -c` gets (`transports/ssh.py`): it must stand alone, and its first lines must run under any
Python, to say that it is too old. What it is to do comes as arguments; it loads little but C modules, since every node pays for it at its first contact.

    arguments      BASE STORE NODE HASH MAGIC [options of `serve` ...]
    node   -> {"want": "pack" or "pyz"}, when its program is not there
    broker -> SIZE DIGEST, and that many bytes
    node   -> {"ready": true} and from there on what the agent says, or {"error": sentence}
"""

import sys

if sys.version_info < (3, 6):
    sys.exit(125)  # the shell looks for another one

import _frozen_importlib_external as importing
import _socket
import errno
import gc
import marshal
import os
import time
import zlib

_PIECE = 1 << 18
_PATIENCE = 20.0  # seconds for an agent that another login is just starting


def main(base, store, node, name, magic, *serve):
    """Until the broker or the agent hangs up."""
    try:
        base = os.path.expanduser(base)
        folder = os.path.join(base, store, node)
        agent = _connect(os.path.join(folder, "agent.sock"))
        if agent is None:
            program, content = _program(base, name, magic)
            os.makedirs(folder, exist_ok=True)
            agent = _agent(folder, program, content, ["--node", node, "--program", name, *serve])
    except OSError as error:
        return _fail("%s: %s" % (error.filename, error.strerror) if error.filename else str(error))
    except ValueError as error:
        return _fail(str(error))
    os.write(1, b'{"ready":true}\n')
    _join(agent)


def _fail(sentence):
    import json

    os.write(1, json.dumps({"error": sentence}).encode() + b"\n")


def _program(base, name, magic):
    """(path, content) of the agent's program, brought here when it is missing: byte code where this Python is the broker's, else a zip archive.
    The content is None where it has to be read."""
    ours = "".join("%02x" % byte for byte in importing.MAGIC_NUMBER)
    form = "pack" if ours == magic else "pyz"
    path = os.path.join(base, "agent-%s%s.%s" % (name, "-" + ours if form == "pack" else "", form))
    if os.path.exists(path):
        return path, None
    os.makedirs(base, exist_ok=True)
    if os.geteuid() == 0:
        os.chmod(base, 0o755)  # users read the programs and reach their own runs, whatever root's umask is
    os.write(1, b'{"want":"%s"}\n' % form.encode())
    data = bytearray()
    while b"\n" not in data:
        _more(data)
    line, _, rest = bytes(data).partition(b"\n")
    size, digest = line.decode().split()
    data = bytearray(rest)
    while len(data) < int(size):
        _more(data)
    data = bytes(data)
    if _sha256()(data).hexdigest() != digest:
        raise ValueError("the agent's program did not come whole")
    temporary = "%s.%d.new" % (path, os.getpid())
    try:
        with open(temporary, "wb", 0) as stream:
            stream.write(data)
        os.chmod(temporary, 0o755)
        os.rename(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    return path, data


def _more(data):
    piece = os.read(0, _PIECE)  # the broker says nothing behind the program before we are ready
    if not piece:
        raise ValueError("the broker hung up")
    data += piece


def _sha256():
    """By the C module: `hashlib` would load all of OpenSSL."""
    for name in ("_sha2", "_sha256"):
        try:
            return __import__(name).sha256
        except (ImportError, AttributeError):
            pass
    import hashlib

    return hashlib.sha256


def _load(program, data):
    """The agent's modules can be imported."""
    if program.endswith(".pyz"):
        sys.path.insert(0, program)
        return
    if data is None:
        with open(program, "rb") as stream:
            data = stream.read()
    begin = 4 + int.from_bytes(data[:4], "big")
    index = marshal.loads(data[4:begin])
    start, end = index["start"]
    names = {"__name__": "unpack"}
    exec(marshal.loads(zlib.decompress(data[begin + start : begin + end])), names)
    names["install"](program, index, data, begin)


def _agent(folder, program, content, options):
    """A connection to the agent of `folder`, which is started when nobody serves there."""
    path = os.path.join(folder, "agent.sock")
    until = time.monotonic() + _PATIENCE
    while True:
        agent = _connect(path)
        if agent is not None:
            return agent
        if not _start(folder, program, content, options):  # somebody else is starting it, or it cannot be
            if time.monotonic() > until or not os.path.exists(os.path.join(folder, "lock")):
                raise ValueError("the agent does not start: " + _last_words(folder))
            time.sleep(0.05)


def _connect(path):
    agent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    here = -1
    try:
        if len(path) > 100:  # an address holds 107 bytes: go by the folder
            here = os.open(os.path.dirname(path), os.O_RDONLY)
            path = "/proc/self/fd/%d/%s" % (here, os.path.basename(path))
        agent.connect(path)
        return agent
    except OSError as error:
        agent.close()
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED):  # what is wrong with a folder is said when it is made
            raise
    finally:
        if here >= 0:
            os.close(here)


def _start(folder, program, content, options):
    """Fork the agent; True once it answers, False if it ended instead."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(told)
            _serve(folder, program, content, options, tell)
        finally:
            os._exit(1)
    os.close(tell)
    os.waitpid(child, 0)  # it only forks
    try:
        return os.read(told, 1) == b"+"
    finally:
        os.close(told)


def _serve(folder, program, content, options, tell):
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
    _load(program, content)
    sys.argv[0] = program  # what the process is called in lists
    from sbroker.agent.__main__ import main as agent

    sys.exit(agent(["serve", "--dir", folder, "--ready", str(tell)] + options))


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
    main(*sys.argv[1:])
