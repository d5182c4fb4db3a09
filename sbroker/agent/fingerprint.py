"""Which state of the sources a process was loaded from, cheaply: names, sizes and times of the files, not their content."""

import os

from . import lean


def of(folders):
    """A word for the Python files in these folders (and in theirs, as far as they are packages); "" where there are none to be seen, as
    in an archive."""
    told = []
    for folder in sorted(set(folders)):
        for where, inner, names in os.walk(folder):
            inner[:] = sorted(name for name in inner if name != "__pycache__")
            for name in sorted(names):
                if name.endswith(".py"):
                    path = os.path.join(where, name)
                    try:
                        status = os.stat(path)
                    except OSError:
                        continue  # being replaced at this moment
                    told.append("%s %d %d" % (os.path.relpath(path, os.path.dirname(folder)), status.st_size, status.st_mtime_ns))
    return "at-" + lean.sha256("\n".join(told).encode("utf-8", "surrogateescape")).hexdigest()[:16] if told else ""


def of_agent(front):
    """The agent's own sources here, with those of the front end's package (`front`: name of its module, or "")."""
    here = os.path.dirname(os.path.abspath(__file__))
    return of([here] + ([os.path.join(os.path.dirname(os.path.dirname(here)), front.split(".")[0])] if front else []))
