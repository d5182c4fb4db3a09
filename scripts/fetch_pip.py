"""scripts/fetch_pip.py PYTHON: give PYTHON a pip from the package index that this machine is configured with. Standard library only.

For machines with Python but neither ensurepip nor pip. A wheel of pip can run itself, so fetching it is enough. Exit code 1: no index known,
or it does not answer.
"""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

CONFIGURATIONS = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf")


def indexes() -> list[str]:
    """What pip itself would ask, in its order, as far as variables and files say."""
    found = [os.environ.get("PIP_INDEX_URL", ""), *os.environ.get("PIP_EXTRA_INDEX_URL", "").split()]
    parser = configparser.ConfigParser(interpolation=None)
    parser.read([os.path.expanduser(path) for path in (*CONFIGURATIONS, os.environ.get("PIP_CONFIG_FILE", ""))])
    for key in ("index-url", "extra-index-url"):
        found += parser.get("global", key, fallback="").split()
    return [url for url in found if url]


def wheel(index: str) -> str | None:
    """Address of the last wheel of pip that the index lists."""
    page = index.rstrip("/") + "/pip/" + ("index.html" if index.startswith("file:") else "")
    try:
        with urllib.request.urlopen(page, timeout=30) as answer:
            text = answer.read().decode("utf-8", "replace")
    except OSError as error:
        print("%s: %s" % (page, error), file=sys.stderr)
        return None
    links = re.findall(r'href="([^"]*/pip-\d[\d.]*-py3-none-any\.whl[^"]*)"|href="(pip-\d[\d.]*-py3-none-any\.whl[^"]*)"', text)
    return urllib.parse.urljoin(page, (links[-1][0] or links[-1][1])) if links else None


def main(python: str) -> int:
    for address in filter(None, map(wheel, indexes())):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / urllib.parse.urlsplit(address).path.rpartition("/")[2]
            urllib.request.urlretrieve(address, path)
            return subprocess.run([python, str(path / "pip"), "install", "-q", str(path)], check=False).returncode
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
