"""A real virtual environment, brought to a node that cannot have it at its own path."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fileslab import Lab

from sbroker.agent.files import venv
from sbroker.agent.files.transfer import Failed

SCRIPT = """#!%s/bin/python
import sys, helper
print(sys.prefix, helper.__file__, sys.argv[1:])
"""


@pytest.fixture
def env(tmp_path: Path) -> Path:
    path = tmp_path / "my env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    packages = path / "lib" / ("python%d.%d" % sys.version_info[:2]) / "site-packages"
    (packages / "helper.py").write_text("x = 1\n")
    (packages / "editable.pth").write_text("%s/work/src\n" % tmp_path)
    (path / "bin" / "tool").write_text(SCRIPT.replace("#!%s/bin/python", "#!/bin/sh\n'''exec' \"%s/bin/python\" \"$0\" \"$@\"\n' '''") % path)
    (path / "bin" / "tool").chmod(0o755)
    return path


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def roots(lab: Lab, env: Path) -> list[dict[str, str]]:
    return [{"path": str(lab.root)}, {"path": str(env), "what": "env"}]


def test_it_works_where_it_lies(lab: Lab, env: Path) -> None:
    (lab.root / "src").mkdir()
    (lab.root / "src" / "mine.py").write_text("y = 2\n")
    outcome = lab.sync("in", roots=roots(lab, env))
    assert outcome["error"] == "", outcome
    at = outcome["roots"][-1]["at"]
    assert at == str(lab.state("nodes/n1")) + str(env)
    assert outcome["env"] == {"VIRTUAL_ENV": at, "PATH": [[str(env / "bin"), at + "/bin"]]}
    subprocess.run(["mv", env, str(env) + ".away"], check=True)  # nothing of the old one is needed
    subprocess.run(["mv", lab.root, str(lab.root) + ".away"], check=True)
    said = subprocess.run([at + "/bin/tool", "a b"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(at + " " + at + "/lib") and said.endswith("['a b']\n")
    assert subprocess.run([at + "/bin/python", "-c", "import mine; print(mine.y)"], capture_output=True, text=True, check=True).stdout == "2\n"
    activated = subprocess.run(["bash", "-c", '. "%s/bin/activate" && echo "$VIRTUAL_ENV" && command -v tool' % at], capture_output=True, text=True, check=True).stdout
    assert activated == "%s\n%s/bin/tool\n" % (at, at)


def test_only_what_was_installed_since_moves(lab: Lab, env: Path) -> None:
    lab.sync("in", roots=roots(lab, env))
    (env / "bin" / "more").write_text("#!%s/bin/python\nprint('more')\n" % env)
    (env / "bin" / "more").chmod(0o755)
    (env / "bin" / "activate").write_text((env / "bin" / "activate").read_text() + "# upgraded\n")
    outcome = lab.sync("in", roots=roots(lab, env))
    assert (outcome["error"], outcome["conflicts"], outcome["files"]) == ("", [], 2)
    at = Path(outcome["roots"][-1]["at"])
    assert (at / "bin" / "activate").read_text().endswith("# upgraded\n") and str(at) in (at / "bin" / "activate").read_text()
    if " " not in str(at):
        assert subprocess.run([at / "bin" / "more"], capture_output=True, text=True, check=True).stdout == "more\n"
    assert lab.sync("in", roots=roots(lab, env))["files"] == 0
    (at / "bin" / "junk").write_text("by a job")
    assert lab.sync("out", roots=roots(lab, env))["roots"][0]["path"] == str(lab.root)  # an environment only goes in
    assert not (env / "bin" / "junk").exists()


def test_an_interpreter_of_the_users_own_comes_along(lab: Lab, env: Path, tmp_path: Path) -> None:
    """As pyenv and uv have it: the interpreter lies in the home folder."""
    private = tmp_path / "home" / ".pyenv" / "versions" / "3" / "bin"
    private.mkdir(parents=True)
    (private / "python3").symlink_to(os.path.realpath(sys.executable))
    os.unlink(env / "bin" / "python3")
    (env / "bin" / "python").unlink()
    (env / "bin" / "python").symlink_to("python3")
    (env / "bin" / "python3").symlink_to(private / "python3")
    config = (env / "pyvenv.cfg").read_text()
    (env / "pyvenv.cfg").write_text(re.sub("(?m)^home = .*$", "home = %s" % private, config))
    outcome = lab.sync("in", roots=roots(lab, env), home=str(tmp_path / "home"))
    assert outcome["error"] == "", outcome
    assert [root["path"] for root in outcome["roots"]] == [str(lab.root), str(private.parent), str(env)]
    at = outcome["roots"][-1]["at"]
    assert os.readlink(at + "/bin/python3") == outcome["roots"][1]["at"] + "/bin/python3"
    assert "home = %s/bin\n" % outcome["roots"][1]["at"] in Path(at, "pyvenv.cfg").read_text()


def test_another_version_is_refused(lab: Lab, env: Path) -> None:
    config = (env / "pyvenv.cfg").read_text()
    (env / "pyvenv.cfg").write_text(re.sub("(?m)^(version|home) = .*$", lambda m: {"version": "version = 3.99.1", "home": "home = /nowhere/bin"}[m.group(1)], config))
    outcome = lab.sync("in", roots=roots(lab, env))
    assert not outcome["again"]
    assert outcome["error"] == (
        "the environment %s was made with Python 3.99 in /nowhere/bin, and n1 has no Python 3.99: install it there, or make the environment with one that is "
        "in your home folder" % env)


def test_what_is_no_environment_is_refused(lab: Lab) -> None:
    outcome = lab.sync("in", roots=roots(lab, lab.root))
    assert outcome["error"] == "%s is no virtual environment (no pyvenv.cfg) and no conda environment (no conda-meta)" % lab.root


def test_a_conda_environment_needs_its_own_path(lab: Lab, tmp_path: Path) -> None:
    env = tmp_path / "conda"
    (env / "conda-meta").mkdir(parents=True)
    (env / "bin").mkdir()
    (env / "bin" / "python").symlink_to(sys.executable)
    outcome = lab.sync("in", roots=roots(lab, env))
    assert "works only at its own path" in outcome["error"]
    assert venv.settle(str(env), str(env), [], "n1") == ([], {})
    (env / "bin" / "python").unlink()
    (env / "bin" / "python").write_text("#!/bin/sh\necho no such libc >&2\nexit 3\n")
    (env / "bin" / "python").chmod(0o755)
    with pytest.raises(Failed, match=r"does not work on n1: its python does not run there \(no such libc\)"):
        venv.settle(str(env), str(env), [], "n1")
