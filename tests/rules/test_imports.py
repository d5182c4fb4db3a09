"""Who may import whom, what the thin client loads, and what runs on nodes: ARCHITECTURE.md, checked."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ("client.py", "attach.py", "reach.py")
# modules that hold values and contracts only: everybody may import them
FOUNDATION = {"sbroker.model", "sbroker.machines", "sbroker.states", "sbroker.errors", "sbroker.api", "sbroker.clock", "sbroker.hostlist", "sbroker.features"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute module name) of each import, wherever it stands; `from a import b` gives a and a.b."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    package = package.removesuffix(".__init__")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join(parts[: len(parts) - node.level + 1] + ([base] if base else []))
            yield node.lineno, base
            for alias in node.names:
                yield node.lineno, base + "." + alias.name


def needed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.dump(tree.test):
        for node in tree.orelse:
            yield from needed(node)
        return
    yield tree
    for node in ast.iter_child_nodes(tree):
        yield from needed(node)


def graph(root: Path, *folders: str) -> dict[str, set[str]]:
    """Module → the modules among them that it imports, wherever in it that stands; a package from which only modules are taken does not
    count, for it is the modules that are needed."""
    files = {}
    for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
        files[".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")] = path
    found: dict[str, set[str]] = {}
    for module, path in files.items():
        package = (module if path.name == "__init__.py" else module.rpartition(".")[0]).split(".")
        names = found[module] = set()
        for node in needed(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = ".".join((package[: len(package) - node.level + 1] if node.level else []) + ([node.module] if node.module else []))
                names.update(inner if (inner := base + "." + alias.name) in files else base for alias in node.names)
        found[module] = {name for name in names if name in files and name != module}
    return found


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """One way round for each knot of modules that import each other."""
    left, found = {module: set(names) for module, names in imports.items()}, []
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            circle = error.args[1]
            found.append(circle)
            left = {module: names - set(circle) for module, names in left.items() if module not in circle}
        else:
            return found


def test_no_modules_import_each_other():
    """Neither at their top nor later: of two that need each other, a part belongs into a third."""
    assert circles(graph(ROOT, "sbroker", "slurm_compat")) == []


def test_a_circle_is_found_wherever_it_is_hidden(tmp_path):
    (tmp_path / "p").mkdir()
    sources = {
        "__init__": "from p import a\n",
        "a": "import os\nfrom . import b\n",
        "b": "def late():\n    from p.c import thing\n",
        "c": "from typing import TYPE_CHECKING\nimport p.a\nif TYPE_CHECKING:\n    from p import d\nthing = 1\n",
        "d": "from p import c\n",
    }
    for name, text in sources.items():
        (tmp_path / "p" / (name + ".py")).write_text(text)
    (circle,) = circles(graph(tmp_path, "p"))
    assert set(circle) == {"p.a", "p.b", "p.c"}
    (tmp_path / "p" / "c.py").write_text("thing = 1\n")
    assert circles(graph(tmp_path, "p")) == []


def offences(paths: list[Path], wrong) -> list[str]:
    return ["%s:%d imports %s" % (path.relative_to(ROOT), line, name) for path in paths for line, name in imported(path) if wrong(name)]


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def test_the_broker_never_imports_the_front_end():
    assert offences(sources("sbroker"), lambda name: within(name, "slurm_compat")) == []


def test_only_the_entry_point_joins_the_two():
    joins = [path.name for path in ROOT.glob("*.py") if {"sbroker", "slurm_compat"} <= {name.split(".")[0] for _, name in imported(path)}]
    assert joins == ["sbroker_main.py"]


def test_the_front_end_sees_only_the_seam():
    seam = {"sbroker", *FOUNDATION}

    def wrong(name: str) -> bool:
        return within(name, "sbroker") and name not in seam and name.rpartition(".")[0] not in FOUNDATION

    assert offences(sources("slurm_compat"), wrong) == []


def test_the_core_is_pure():
    doing = ("asyncio", "socket", "select", "selectors", "subprocess", "threading", "random", "secrets", "sqlalchemy", "os")

    def wrong(name: str) -> bool:
        return within(name, *doing) or (within(name, "sbroker") and not within(name, "sbroker.core", "sbroker.plan", "sbroker.catalog", *FOUNDATION) and name != "sbroker")

    assert offences(sources("sbroker/core"), wrong) == []


def test_the_plan_is_pure():
    doing = ("asyncio", "socket", "select", "selectors", "subprocess", "threading", "random", "secrets", "sqlalchemy", "os")

    def wrong(name: str) -> bool:
        return within(name, *doing) or (within(name, "sbroker") and not within(name, "sbroker.plan", "sbroker.catalog", *FOUNDATION) and name != "sbroker")

    assert offences(sources("sbroker/plan"), wrong) == []


def test_the_agent_stands_alone():
    """Its zipapp holds sbroker.agent and the front end's node modules, and nothing else but the standard library."""
    known = set(sys.stdlib_module_names) | {"sbroker", "_sha2", "_sha256"}  # the two names of one module, by release

    def wrong(name: str) -> bool:
        return name.split(".")[0] not in known or (within(name, "sbroker") and not within(name, "sbroker.agent") and name != "sbroker")

    assert offences(sources("sbroker/agent"), wrong) == []


def test_providers_and_sdks_are_imported_late():
    """No SDK and no SSH library at the start of the broker, the client or the command `sbroker`."""
    heavy = {"asyncssh", "paramiko", "boto3", "botocore", "kubernetes", "google", "libcloud", "alembic"}
    code = "import sys, sbroker_main, sbroker.cli, sbroker.daemon\n"
    code += "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert heavy & set(loaded) == set()


def test_what_the_thin_client_loads():
    """On its plain path nothing but C modules beyond what a bare interpreter has loaded."""
    code = "import sys\nbare = set(sys.modules)\nimport _frozen_importlib_external as e\n"
    code += "exec(e.SourceFileLoader('client', %r).get_code('client'), {'__name__': 'client'})\n" % str(ROOT / "slurm_compat" / "client.py")
    code += "print(*sorted(set(sys.modules) - bare))"
    loaded = subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) <= {"_frozen_importlib_external", "_socket"}


@pytest.mark.parametrize("name", CLIENT)
def test_the_client_uses_the_standard_library_only(name):
    path = ROOT / "slurm_compat" / name
    allowed = {"sys", "posix", "_signal", "_socket", "_frozen_importlib_external", "pwd", "select", "termios", "fcntl", "time", "site"}
    # reach.py answers host lists, versions and usages with modules of its own package, when they are there
    own = ("slurm_compat.show.hostnames", "slurm_compat.releases", "slurm_compat.local") if name == "reach.py" else ()
    assert offences([path], lambda module: module.split(".")[0] not in allowed and not within(module, *own)) == []


def test_the_agent_starts_without_what_it_rarely_needs():
    """Its start is what a node costs at first contact; such modules are imported where they are used."""
    code = "import sys; bare = set(sys.modules); sys.path.insert(0, %r)\n" % str(ROOT)
    code += "import sbroker.agent.__main__ as m, slurm_compat.node; m.session_code(); print(*sorted(set(sys.modules) - bare))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    python = {"_collections_abc", "genericpath", "os", "os.path", "posixpath", "stat"}  # `os` and what it brings
    in_c = {"_collections", "_ctypes", "_heapq", "_json", "_operator", "_sha2", "_sha256", "_socket", "_stat", "_struct", "errno", "fcntl", "gc", "grp",
            "itertools", "pwd", "resource", "select", "termios"}  # fmt: skip
    loaded = {name for name in done.stdout.split() if name.split(".")[0] not in ("sbroker", "slurm_compat")}
    assert loaded <= python | in_c


def test_the_pack_knows_what_a_start_loads():
    """In one piece it has that, and no more: what is missing is unpacked alone, what is too much is unpacked for nothing."""
    from sbroker.agent import zipapp
    from slurm_compat import node

    code = "import sys; sys.path.insert(0, %r)\n" % str(ROOT)
    code += "import sbroker.agent.__main__ as m, slurm_compat.node; m.session_code(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in loaded if name.split(".")[0] in ("sbroker", "slurm_compat")} == {*zipapp.START, *node.START}
