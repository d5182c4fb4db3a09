"""The broker's one process: calls come in, decisions are made durable, effects go out. Decides nothing itself."""

from __future__ import annotations


def main(front_end, argv: list[str]) -> int:
    """`sbrokerd`: run the broker with this front end until it is told to stop; the exit code."""
    from sbroker.daemon.main import main as run

    return run(front_end, argv)
