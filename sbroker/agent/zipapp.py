"""The agent as one file: sbroker.agent and the front end's node modules, to be copied to any machine with Python 3.6 or later."""

import os
import stat
import zipfile

_MAIN = """import sys

from sbroker.agent.__main__ import main

sys.exit(main())
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time a zip file can hold: the same content gives the same bytes


def build(path, node_files):
    """Write the zipapp to `path`, executable. `node_files`: path inside → bytes, as FrontEnd.node_files() gives them."""
    files = dict(node_files)
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    names = ["__init__.py"]
    for folder in ("agent", os.path.join("agent", "files")):
        names.extend(os.path.join(folder, name) for name in sorted(os.listdir(os.path.join(package, folder))))
    for name in names:
        if name.endswith(".py"):
            with open(os.path.join(package, name), "rb") as stream:
                files["sbroker/" + name] = stream.read()
    files["__main__.py"] = _MAIN.encode()
    temporary = path + ".new"
    with open(temporary, "wb") as stream:
        stream.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(files):
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), files[name], zipfile.ZIP_DEFLATED)
    os.chmod(temporary, os.stat(temporary).st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    os.replace(temporary, path)
