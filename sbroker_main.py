"""Where the two packages are joined: entry points of `sbrokerd` and `sbroker`. Holds no logic.

`sbroker` (the broker) sees a front end only through `sbroker.api.FrontEnd`; this file hands it Slurm's.
"""

from __future__ import annotations

import sys

from sbroker.api import FrontEnd


def front_end() -> FrontEnd:
    from slurm_compat.frontend import FrontEnd

    return FrontEnd()


def sbrokerd(argv: list[str] | None = None) -> int:
    """The broker itself; returns its exit code."""
    from sbroker import daemon

    return daemon.main(front_end(), sys.argv[1:] if argv is None else argv)


def sbroker(argv: list[str] | None = None) -> int:
    """The administrator's command; returns its exit code."""
    from sbroker import cli

    return cli.main(sys.argv[1:] if argv is None else argv, front_end)


if __name__ == "__main__":
    # `sbroker_main.py sbrokerd …` from a checkout; `-m sbroker_main --personal` where no script lies beside the client
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name == "sbroker":
        sys.exit(sbroker(sys.argv[2:]))
    sys.exit(sbrokerd(sys.argv[2:] if name == "sbrokerd" else None))
