"""Nodes over OpenSSH's own sshd: what a login needs, what is refused and how it is said, and that jobs there are like jobs here."""

from __future__ import annotations


def test_first(system):
    print(system.ok("sinfo -N; sbroker status --json; srun -N4 hostname"))
    print(system.agent_folder("n1"), system.agent_pid("n1"))
