"""Whose jobs an agent runs."""

import pytest

from sbroker.agent.users import Policy

ALICE = {"uid": 1001, "gid": 1001, "groups": [1001]}
ROOT = {"uid": 0, "gid": 0, "groups": [0]}
DAEMON = {"uid": 2, "gid": 2, "groups": [2]}
WHEEL = {"uid": 1001, "gid": 1001, "groups": [1001, 0]}


def test_an_agent_that_is_not_root_runs_its_own_users_jobs_only():
    policy = Policy()
    assert policy.refusal(ALICE, me=1001) == ""
    assert "cannot run jobs of uid 1001" in policy.refusal(ALICE, me=1002)


@pytest.mark.parametrize(
    ("policy", "user", "allowed"),
    [(Policy(), ALICE, True), (Policy(), ROOT, False), (Policy(), DAEMON, False), (Policy(), WHEEL, False),
     (Policy(allow_root=True), ROOT, True), (Policy(min_uid=1), DAEMON, True), (Policy(allow_root=True), DAEMON, False)],
)
def test_root_refuses_whom_its_policy_does_not_name(policy, user, allowed):
    assert (policy.refusal(user, me=0) == "") is allowed


def test_a_broker_that_is_not_root_may_only_take_away():
    wide = {"min_uid": 0, "allow_root_jobs": True}
    assert Policy().under(wide, trusted=True).refusal(ROOT, me=0) == ""
    assert Policy().under(wide, trusted=False).refusal(ROOT, me=0) != ""
    assert Policy().under(wide, trusted=False).refusal(DAEMON, me=0) != ""
    assert Policy().under({"min_uid": 5000}, trusted=False).refusal(ALICE, me=0) != ""
    assert Policy(allow_root=True).under({}, trusted=False).refusal(ROOT, me=0) == ""
