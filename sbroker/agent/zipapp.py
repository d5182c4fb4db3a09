"""The agent as one file: sbroker.agent and the front end's node modules, to be copied to any machine with Python 3.6 or later.

Two forms. `pack`: byte code for this very release of Python (`magic`), which starts in a third of the time; `image`: a zip archive of the
sources, for all others.
"""

import hashlib
import importlib.util
import io
import marshal
import os
import stat
import zipfile
import zlib

from .slim import slim

_MAIN = """import sys

from sbroker.agent.__main__ import main

sys.exit(main())
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time a zip file can hold: the same content gives the same bytes
_UNCHECKED = (1).to_bytes(4, "little") + bytes(8)  # a .pyc that is valid without a look at its source (PEP 552)
_UNPACK = "sbroker.agent.unpack"
_OURS = (_UNPACK, "sbroker.agent.landing", "sbroker.agent.slim", "sbroker.agent.zipapp")  # no modules of a node
_TOLD = ("sbroker.agent.__main__",)  # whose docstring is shown
_DIGITS = 16  # of `digest`

# what every agent has loaded when it serves, in one piece of `pack` (tests/rules)
START = ("sbroker", "sbroker.agent", *("sbroker.agent." + word for word in (
    "__main__ admission batch bcast_node byway calls commands conversation devices door ending errand fingerprint heard inventory "
    "kernel lean lease ledger limits link loop namespaces peers places procs proof relay reserve resolving rundir runs session site "
    "sockets stdio stepfiles stephooks stepnode steps supervisor tasks tcp tenant users warm wire workers "
).split()))


def sources(node_files):
    """All files of the agent, path inside → bytes. `node_files`: the front end's, as FrontEnd.node_files() gives them."""
    files = dict(node_files)
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for folder, folders, names in os.walk(os.path.join(package, "agent")):
        folders.sort()
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                with open(path, "rb") as stream:
                    files["sbroker/" + os.path.relpath(path, package)] = stream.read()
    with open(os.path.join(package, "__init__.py"), "rb") as stream:
        files["sbroker/__init__.py"] = stream.read()
    return files


def digest(files):
    """A name for this content: of the sources, since byte code of the same source differs from process to process."""
    told = hashlib.sha256()
    for name in sorted(files):
        told.update(b"%d %s %d " % (len(name.encode()), name.encode(), len(files[name])) + files[name])
    return told.hexdigest()[:_DIGITS]


def magic():
    """Which Python `pack` is for."""
    return importlib.util.MAGIC_NUMBER.hex()


def image(files):
    """The zip archive's bytes, the same for the same content; executable with a `python3` in front."""
    files = dict(files, **{"__main__.py": _MAIN.encode()})
    out = io.BytesIO()
    out.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), files[name], zipfile.ZIP_DEFLATED)
    return out.getvalue()


def pack(files, data=(), start=()):
    """What sbroker/agent/unpack.py reads. `data`: files that are wanted as files, too; those that are Python also as a .pyc. `start`: the modules that every
    start needs; they are one piece."""
    first, index, pieces = {}, {"code": {}, "data": {}}, bytearray()

    def place(content):
        begin = len(pieces)
        pieces.extend(zlib.compress(content))
        return begin, len(pieces)

    for name, content in files.items():
        if name in data or not name.endswith(".py"):
            index["data"][name] = place(content)
        if not name.endswith(".py"):
            continue
        package = name.endswith("/__init__.py")
        module = name[: -len("/__init__.py" if package else ".py")].replace("/", ".")
        if module in _OURS:
            continue
        code = marshal.dumps(slim(_code(module, name, content), module in _TOLD))
        if name in data:
            index["data"][name + "c"] = place(importlib.util.MAGIC_NUMBER + _UNCHECKED + code)
        elif module in start:
            first[module] = (package, code)
        else:
            index["code"][module] = (package, *place(code))
    index["first"] = place(marshal.dumps(first))
    index["start"] = place(marshal.dumps(slim(_code(_UNPACK, _UNPACK, files["sbroker/agent/unpack.py"]))))
    told = marshal.dumps(index)
    return len(told).to_bytes(4, "big") + told + bytes(pieces)


def module(name):
    """(byte code, source) of a module of this installation, both bytes; it is not run."""
    spec = importlib.util.find_spec(name)
    source = spec.loader.get_data(spec.origin)
    return marshal.dumps(slim(_code(name, spec.origin, source))), source


def _code(module, name, content):
    """The module's code: what its installation has compiled already, where this is that file. Compiling all takes a second."""
    try:
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.loader.get_data(spec.origin) == content:
            return spec.loader.get_code(module)
    except (ImportError, AttributeError, OSError):
        pass  # not from files, or of no package here
    return compile(content, name, "exec", dont_inherit=True)


def build(path, node_files):
    """Write the zip archive to `path`, executable."""
    temporary = path + ".new"
    with open(temporary, "wb") as stream:
        stream.write(image(sources(node_files)))
    os.chmod(temporary, os.stat(temporary).st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    os.replace(temporary, path)
