"""Whether a run may be held here, and as whom: the policy, the account of its user, whose turn it is on a node of one user at a time."""

import os

from . import errand, procs, users
from .rundir import ACTIVE, HELD
from .tenant import Tenant


class Admission:
    """`runs` is the agent's `Runs`."""

    def __init__(self, runs):
        self.runs, self.loop = runs, runs.relay.loop
        self.tenant = Tenant(self, os.path.dirname(runs.folder))

    def admit(self, info, then):
        """`then(info, refusal, late)`: the description as it is to be written here, "" or a sentence, and whether that took a turn of the
        loop or more."""
        policy = self.runs.relay.policy
        if policy.mapped:
            info = dict(info, owner=info["user"], user=users.own())
            busy = any(record.state in (HELD, ACTIVE) or record.clearing for record in self.runs.records.values())
            return self.tenant.admit(info["owner"], busy, lambda error: then(info, error, True))
        refusal = policy.refusal(info["user"])
        if refusal or not policy.accounts:
            return then(info, refusal, False)
        from . import accounts  # not at the agent's start

        try:
            then(dict(info, user=accounts.settle(info["user"], make=False)), "", False)
        except accounts.Missing:
            self._make_account(info, then)
        except (accounts.Refused, OSError) as error:
            then(info, str(error), False)

    def _make_account(self, info, then):
        from . import accounts

        def made(user, error):
            then(dict(info, user=user or info["user"]), error, True)

        try:
            errand.run(self.loop, lambda: accounts.settle(info["user"]), made, accounts.PATIENCE)
        except OSError as error:
            then(info, str(error), False)

    # --- for the tenant

    @property
    def removers(self):
        return self.runs.removers

    def dismiss(self):
        self.runs.dismiss()

    def strangers(self):
        """Pids of what runs left here that are over: by their environment, and those that became our children."""
        theirs = procs.by_environ(b"SBROKER_SOCKET=" + os.fsencode(self.runs.folder) + b"/", os.geteuid(), prefix=True)
        return self.runs.orphans(self.runs.records.values()) | theirs
