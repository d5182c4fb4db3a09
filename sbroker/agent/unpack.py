"""Imports out of one file: the agent's program for nodes that have the broker's own release of Python.

The file is `marshal` of {"start": code of this module, "first": what every start needs, one compressed piece: marshalled {module: (whether a package, code)},
"code": the rest, {module: (whether a package, code)}, "data": {path: bytes}}; code is marshalled, in "start", "code" and "data" compressed. Reading it is one `read`,
and a module costs what its code does: a zip archive is searched and read by Python code, which would take half of the agent's start. `zipapp.pack`
makes it, `landing` hands it over.
"""

import marshal
import sys
import zlib
from _frozen_importlib import ModuleSpec


class Pack:
    """Finder and loader of its modules, and of the files beside them."""

    def __init__(self, path, content):
        self.path, self._code, self._data = path, content["code"], content["data"]
        self._first = marshal.loads(zlib.decompress(content["first"]))

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
        code = self._first[name][1] if name in self._first else zlib.decompress(self._code[name][1])
        exec(marshal.loads(code), module.__dict__)

    def get_data(self, path):
        """A file that came along. OSError if it did not."""
        try:
            return zlib.decompress(self._data[path[len(self.path) + 1 :]])
        except KeyError:
            raise FileNotFoundError(path)


def install(path, content):
    """Its modules can be imported from now on."""
    sys.meta_path.insert(0, Pack(path, content))
