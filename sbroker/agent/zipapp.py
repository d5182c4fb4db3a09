"""The agent as one file: sbroker.agent and the front end's node modules, to be copied to any machine with Python 3.6 or later."""

import importlib.util
import io
import marshal
import os
import stat
import zipfile

_MAIN = """import sys

from sbroker.agent.__main__ import main

sys.exit(main())
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time a zip file can hold: the same content gives the same bytes


def image(node_files, compiled=True):
    """The zipapp's bytes, the same for the same content. `node_files`: path inside → bytes, as FrontEnd.node_files() gives them.

    `compiled`: byte code of this very release of Python lies beside each module. Where the node's Python is the same it starts in a
    third of the time; another one sees by its first bytes that it is not for it, and compiles the source.
    """
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
    files["__main__.py"] = _MAIN.encode()
    if compiled:
        files.update({name + "c": _byte_code(data, name) for name, data in files.items() if name.endswith(".py")})
    out = io.BytesIO()
    out.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), files[name], zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _byte_code(source, name):
    """A .pyc that is valid without a look at its source (PEP 552, unchecked): the two lie in one file that never changes."""
    code = compile(source, name, "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)


def build(path, node_files):
    """Write the zipapp to `path`, executable."""
    temporary = path + ".new"
    with open(temporary, "wb") as stream:
        stream.write(image(node_files))
    os.chmod(temporary, os.stat(temporary).st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    os.replace(temporary, path)
