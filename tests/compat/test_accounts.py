"""sacctmgr and sshare against what Slurm 22.05.8 printed for the same users and accounts."""

from __future__ import annotations

import asyncio
import shlex
from types import SimpleNamespace

import pytest

from sbroker.api import Call
from sbroker.config import Config
from sbroker.config import Qos as QosConfig
from sbroker.config import User as UserConfig
from slurm_compat.commands import sacctmgr, sshare
from tests.compat.control_cluster import User, View

USERS = {"alice": UserConfig(accounts=("lab", "other"), default_account="lab"), "root": UserConfig(accounts=("lab",), default_account=None)}
COMMANDS = {"sacctmgr": sacctmgr, "sshare": sshare}


def ask(line: str, **settings: object) -> tuple[str, str, int]:
    """(standard output, standard error, exit code) of a command line that root types."""
    name, *argv = shlex.split(line)
    config = Config(**{"cluster": "oracle", "users": USERS, **settings})
    call = Call(id="1", name=name, argv=tuple(argv), env={"TZ": "UTC"}, cwd="/", uid=0)
    user = User()
    code = asyncio.run(COMMANDS[name].run(call, user, SimpleNamespace(config=config, view=View(), now=lambda: 0.0)))
    return user.printed[1], user.printed[2], code


NO_ENTITY = """\
No valid entity in list command
Input line must include "Account", "Association", "Cluster", "Configuration",
"Event", "Federation", "Problem", "QOS", "Resource", "Reservation",
"RunAwayJobs", "Stats", "Transaction", "TRES", "User", or "WCKey"
"""
RECORDED = {
    "sacctmgr -n -s list user root format=account%20": "                 lab \n                root \n",
    "sacctmgr -nP show user alice withassoc format=user,defaultaccount,account": "alice|lab|other\nalice|lab|lab\n",
    "sacctmgr -n -P show assoc user=alice format=cluster,account,user,partition,qos,defaultqos": "oracle|other|alice||normal|\noracle|lab|alice||normal|\n",
    "sacctmgr show account": (
        "   Account                Descr                  Org \n---------- -------------------- -------------------- \n"
        "       lab                  lab                  lab \n     other                other                other \n"
        "      root default root account                 root \n"
    ),
    "sacctmgr -p show user": "User|Def Acct|Admin|\nalice|lab|None|\nroot|root|Administrator|\n",
    "sacctmgr show user": (
        "      User   Def Acct     Admin \n---------- ---------- --------- \n     alice        lab      None \n      root       root Administ+ \n"
    ),
    "sacctmgr -nP show assoc where user=alice account=lab format=account,user": "lab|alice\n",
    "sacctmgr -nP list user where name=alice,root format=user": "alice\nroot\n",
    "sacctmgr -nP show account withassoc format=account,user,parentname": "lab||root\nlab|alice|\nlab|root|\nother||root\nother|alice|\nroot||\nroot|root|\n",
    "sacctmgr -nP show assoc tree format=account,user": "root|\n root|root\n lab|\n  lab|alice\n  lab|root\n other|\n  other|alice\n",
    "sacctmgr -n show cluster format=cluster": "    oracle \n",
    "sacctmgr -nP show assoc where users=alice cluster=nope": "",
    "sacctmgr -n show user nobody": "",
    "sacctmgr show wckey": "     WCKey    Cluster       User \n---------- ---------- ---------- \n",
    "sacctmgr show runaway": "Runaway Jobs: No runaway jobs found on cluster oracle\n",
    "sacctmgr -nP show tres": "cpu||1\nmem||2\nenergy||3\nnode||4\nbilling||5\nfs|disk|6\nvmem||7\npages||8\ngres|gpu|1001\n",
    "sshare -U --format Account%20 --noheader": "                root \n                 lab \n",
    "sshare -a -P": (
        "Account|User|RawShares|NormShares|RawUsage|EffectvUsage|FairShare\nroot||||0|0.000000|\n root|root|1||0|0.000000|0.000000\n"
        " lab||1||0|0.000000|\n  lab|alice|1||0|0.000000|0.000000\n  lab|root|1||0|0.000000|0.000000\n"
        " other||1||0|0.000000|\n  other|alice|1||0|0.000000|0.000000\n"
    ),
    "sshare -nU": (
        "root                       root          1                       0      0.000000   0.000000 \n"
        "lab                        root          1                       0      0.000000   0.000000 \n"
    ),
    "sshare -A lab -P": (
        "Account|User|RawShares|NormShares|RawUsage|EffectvUsage|FairShare\nlab||1||0|0.000000|\n lab|root|1||0|0.000000|0.000000\n"
    ),
}
REFUSED = {
    "sacctmgr show": NO_ENTITY,
    "sacctmgr -n show foo": NO_ENTITY,
    "sacctmgr foo": "invalid keyword: foo\n",
    "sacctmgr show assoc format=foo": "Unknown field 'foo'\n",
    "sacctmgr show assoc where foo=bar": " Unknown condition: foo=bar\n",
    "sacctmgr -z": "sacctmgr: invalid option -- 'z'\nTry \"sacctmgr --help\" for more information\n",
    "sshare -o foo": 'sshare: error: Invalid field requested: "foo"\n',
}


@pytest.mark.parametrize("line", RECORDED)
def test_recorded(line):
    assert ask(line) == (RECORDED[line], "", 0)


@pytest.mark.parametrize("line", REFUSED)
def test_refused(line):
    assert ask(line) == ("", REFUSED[line], 1)


def test_default_titles():
    """The widths of everything that is listed without format=: as long as Slurm's rules."""
    rules = {"cluster": 163, "assoc": 241, "qos": 353, "user -s": 177}
    for entity, length in rules.items():
        assert len(ask("sacctmgr show " + entity)[0].split("\n")[1]) == length, entity


def test_qos_are_those_of_the_configuration():
    out, _, _ = ask("sacctmgr -nP show qos format=name,priority,maxwall", qos={"high": QosConfig(priority=100)})
    assert out == "normal|0|\nhigh|100|\n"


def test_changes_are_refused():
    out, err, code = ask("sacctmgr -i add user bob account=lab")
    assert (out, code) == ("", 1)
    assert "configuration" in err


def test_without_users_every_account_is_taken_so_none_is_listed():
    assert ask("sacctmgr -n -s list user root format=account%256", users={}) == ("", "", 0)
    assert ask("sshare -U --format Account%256 --noheader", users={}) == ("", "", 0)
