"""Imports out of one file: the agent's program for nodes that have the broker's own release of Python.

The file is the length of an index (four bytes), the index, and what that gives the places of: {"start": this module, "first": what every start
needs, as one piece ({module: (whether a package, code)}), "code": the rest, {module: (whether a package, from, to)}, "data": {path: (from, to)}}. The
index, "first" and all code are marshalled, all pieces are compressed. Reading it is one `read`, and a module costs what its code does: a zip archive is
searched and read by Python code, which would take half of the agent's start. `zipapp.pack` makes it, `landing` hands it over.
"""

import marshal
import sys
import zlib
from _frozen_importlib import ModuleSpec


class Pack:
    """Finder and loader of its modules, and of the files beside them. `index`, `data` and `begin`: of the file, what it holds, and where the
    places are counted from."""

    def __init__(self, path, index, data, begin):
        self.path, self._index, self._content, self._begin = path, index, data, begin
        self._code = index["code"]
        self._first = marshal.loads(self._piece(*index["first"]))

    def _piece(self, start, end):
        return zlib.decompress(memoryview(self._content)[self._begin + start : self._begin + end])

    def find_spec(self, name, path=None, target=None):
        entry = self._first.get(name) or self._code.get(name)
        if entry is None:
            return None
        place = self.path + "/" + name.replace(".", "/")
        spec = ModuleSpec(name, self, origin=place + ("/__init__.py" if entry[0] else ".py"), is_package=entry[0])
        spec.has_location = True
        if entry[0]:
            spec.submodule_search_locations.append(place)
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__name__
        code = self._first[name][1] if name in self._first else self._piece(*self._code[name][1:])
        exec(marshal.loads(code), module.__dict__)

    def get_data(self, path):
        """A file that came along. OSError if it did not."""
        place = self._index["data"].get(path[len(self.path) + 1 :])
        if place is None:
            raise FileNotFoundError(path)
        return self._piece(*place)


def install(*pack):
    """Its modules can be imported from now on; `pack`: as `Pack` takes it."""
    sys.meta_path.insert(0, Pack(*pack))
