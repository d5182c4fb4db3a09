"""Rules on the text of the sources: size, syntax level, clocks, processes, and names that do not belong in a project."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 500  # lines of a file
NODE_PYTHON = (3, 6)
NEWER = {"dataclasses", "contextvars", "__future__.annotations", "graphlib", "zoneinfo"}  # modules that Python 3.6 lacks
STARTS_PROCESSES = re.compile(r"^\s*(import|from) (subprocess|multiprocessing)\b|\bos\.(fork|exec\w*|posix_spawn\w*|system|popen)\(", re.M)
MARKS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
PICKLE = re.compile(r"^\s*(import|from) (pickle|marshal|shelve)\b", re.M)


def tracked() -> list[Path]:
    """The project's files; in an unpacked archive, where git knows nothing, what lies in its folders."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    folders = ("bin", "sbroker", "slurm_compat", "tests", "templates", "man", "examples", "benchmarks")
    return [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def python(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def node_modules() -> list[Path]:
    """What the front end puts into the agent's zipapp."""
    from slurm_compat.frontend import FrontEnd

    files = FrontEnd().node_files()
    return [ROOT / name for name in files if (ROOT / name).is_file()]


def test_what_a_login_gives_to_python_is_ascii():
    """Python 3.6 in a login without a locale takes its command line as ASCII."""
    assert (ROOT / "sbroker" / "agent" / "landing.py").read_bytes().isascii()


def test_no_file_is_too_long():
    lengths = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in tracked() if path.suffix == ".py"}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def old_syntax_errors(paths: list[Path]) -> list[str]:
    """What Python 3.6 could not read. `ast` knows its grammar but not every later addition: those are looked for by hand."""
    wrong = []
    for path in paths:
        name = str(path.relative_to(ROOT))
        text = path.read_text(encoding="utf-8")
        try:
            tree = ast.parse(text, name, feature_version=NODE_PYTHON)
        except SyntaxError as error:
            wrong.append("%s:%s: %s" % (name, error.lineno, error.msg))
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.NamedExpr | ast.Match):
                wrong.append("%s:%d: syntax of 3.8 or later" % (name, node.lineno))
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                    modules = ["__future__." + a.name for a in node.names]
                wrong.extend("%s:%d: %s came later" % (name, node.lineno, module) for module in modules if module in NEWER)
    return wrong


def test_the_client_and_the_agent_are_python_36():
    client = [ROOT / "slurm_compat" / name for name in ("client.py", "attach.py", "reach.py")]
    assert old_syntax_errors(python("sbroker/agent") + client) == []


def test_the_front_ends_node_modules_are_python_36():
    assert old_syntax_errors(node_modules()) == []


def calls(paths: list[Path], *names: str) -> list[str]:
    """Places that name one of `names` ("module.attribute")."""
    found = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and "%s.%s" % (node.value.id, node.attr) in names:
                found.append("%s:%d %s.%s" % (path.relative_to(ROOT), node.lineno, node.value.id, node.attr))
    return found


def outside(paths: list[Path], *allowed: str) -> list[Path]:
    return [path for path in paths if not str(path.relative_to(ROOT)).startswith(allowed)]


def test_clocks_are_read_in_one_place():
    """`time.time` and `time.sleep` only in the clock, and on nodes, where durations come from the agent's loop."""
    assert calls(outside(python("sbroker", "slurm_compat"), "sbroker/clock.py", "sbroker/agent/"), "time.time", "time.sleep") == []


def test_the_core_reads_no_clock():
    """It may write a given time as text, and nothing more."""
    clocks = ["time." + name for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "clock_gettime", "sleep")]
    assert calls(python("sbroker/core"), *clocks, "datetime.now", "datetime.utcnow", "datetime.today", "date.today") == []


def test_the_agent_sleeps_in_its_loop_only():
    before_it = "sbroker/agent/landing.py"  # what a login runs to bring the agent there: no loop yet
    beside_it = "sbroker/agent/writer.py"  # a process of its own that does nothing but write, and waits for room on the disk
    assert calls(outside(python("sbroker/agent"), "sbroker/agent/loop.py", before_it, beside_it), "time.sleep") == []


def test_processes_are_started_where_they_belong():
    """Transports, agents and providers start processes; the client spawns for its user; `sbroker up` starts the broker, and
    `sbroker ssh` becomes srun where there is no sshd."""
    allowed = ("sbroker/transports/", "sbroker/agent/", "sbroker/providers/", "sbroker/cli/lifecycle.py", "sbroker/cli/logins.py",
               "sbroker/daemon/", "slurm_compat/attach.py", "slurm_compat/reach.py")
    assert matching(STARTS_PROCESSES, outside(python("sbroker", "slurm_compat"), *allowed)) == []


def matching(pattern: re.Pattern, paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths if pattern.search(path.read_text(encoding="utf-8"))]


def test_manual_pages_are_what_the_option_table_says():
    done = subprocess.run([sys.executable, ROOT / "scripts" / "manpages", "--check"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0), "run scripts/manpages"


def test_nothing_is_left_to_do_later():
    assert matching(MARKS, [path for path in python("sbroker", "slurm_compat", "tests") if path != Path(__file__)]) == []


def test_no_pickle():
    byte_code = ("sbroker/agent/zipapp.py", "sbroker/agent/unpack.py", "sbroker/agent/landing.py")  # of our own program, from our own broker
    assert matching(PICKLE, outside(python("sbroker", "slurm_compat"), *byte_code)) == []
