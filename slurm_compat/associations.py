"""Who may charge which account, as Slurm's accounting tells it: the associations of a configuration. sacctmgr and sshare list them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

ROOT = "root"  # the account above all others, and the user that every cluster has


class Association(NamedTuple):
    """One line of the tree. `user` "" : the account's own line; `depth`: 0 for the root account."""

    account: str
    user: str
    parent: str
    depth: int
    qos: str
    default_qos: str
    id: int


def accounts(config: Any) -> list[str]:
    """All accounts but root's, by name."""
    named = set(config.accounts)
    for user in config.users.values():
        named.update(user.accounts)
    return sorted(named - {ROOT})


def users(config: Any) -> dict[str, tuple[str, ...]]:
    """User → accounts, by name: the configured ones, and root with an account of its own. None where no user is configured: every account
    is taken then, and programs that check theirs against this list must not find one without it."""
    if not config.users:
        return {}
    found = {name: tuple(user.accounts) for name, user in config.users.items()}
    found[ROOT] = (*(account for account in found.get(ROOT, ()) if account != ROOT), ROOT)
    return dict(sorted(found.items()))


def default_account(config: Any, user: str) -> str:
    known = config.users.get(user)
    if known is not None and known.default_account:
        return str(known.default_account)
    if user == ROOT:
        return ROOT
    return str(known.accounts[0]) if known is not None and known.accounts else ""


def admin_level(config: Any, user: str) -> str:
    if user == ROOT:
        return "Administrator"
    return "Operator" if user in config.operators else "None"


def qos_names(config: Any) -> list[str]:
    """All QOS in the order of their ids: Slurm's own "normal" is the first."""
    return ["normal", *(name for name in config.qos if name != "normal")]


def tree(config: Any) -> list[Association]:
    """All associations in the order of the tree: an account, its users, the next account."""
    everything = ",".join(qos_names(config))
    of_users = users(config)
    lines: list[Association] = []

    def add(account: str, user: str, parent: str, depth: int) -> None:
        known = config.users.get(user)
        own = ",".join(known.qos) if known is not None else ""
        lines.append(Association(account, user, parent, depth, own or everything, str(known.default_qos or "") if known else "", len(lines) + 1))

    add(ROOT, "", "", 0)
    for account in (ROOT, *accounts(config)):
        if account != ROOT:
            add(account, "", ROOT, 1)
        for user, mine in of_users.items():
            if account in mine:
                add(account, user, "", 1 if account == ROOT else 2)
    return lines


def of_user(config: Any, user: str) -> Iterator[Association]:
    """One user's, the account named last first: the order in which Slurm lists them by user."""
    mine = {line.account: line for line in tree(config) if line.user == user}
    for account in sorted(mine, key=lambda name: (name == ROOT, [-ord(letter) for letter in name])):
        yield mine[account]


def chosen(lines: Iterable[Association], of_accounts: frozenset[str], of_users: frozenset[str]) -> list[Association]:
    """Those of these accounts and users; an empty set chooses all."""
    return [line for line in lines if (not of_accounts or line.account in of_accounts) and (not of_users or line.user in of_users)]
