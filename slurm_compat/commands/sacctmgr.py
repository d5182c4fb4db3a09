"""sacctmgr: shows users, accounts, associations, QOS and the cluster as the configuration has them. Changes are made there, and refused here."""

from __future__ import annotations

from typing import Any

import msgspec

from sbroker.api import Api, Call, Client, View
from slurm_compat import acct_format, acctmgr_fields
from slurm_compat import associations as assoc
from slurm_compat.acctmgr_fields import DEFAULTS, FIELDS, Record
from slurm_compat.commands.common import Stop, say, start
from slurm_compat.releases import version
from slurm_compat.timefmt import Times

HELP = "Usage: sacctmgr [<OPTION>] show <ENTITY> [where] [<CONDITION>=<VALUES>...] [format=<FIELDS>]\n"
NO_ENTITY = """\
No valid entity in list command
Input line must include "Account", "Association", "Cluster", "Configuration",
"Event", "Federation", "Problem", "QOS", "Resource", "Reservation",
"RunAwayJobs", "Stats", "Transaction", "TRES", "User", or "WCKey"
"""
CHANGES = ("add", "archive", "clear", "create", "delete", "dump", "load", "modify", "reconfigure", "remove", "update")
SHOWS = ("list", "show")
# what a word means, and the least letters of it
ENTITIES = (("account", 2), ("association", 2), ("cluster", 2), ("configuration", 2), ("event", 1), ("federation", 1), ("problem", 1), ("qos", 1),
            ("resource", 4), ("reservation", 4), ("runawayjobs", 2), ("stats", 1), ("transaction", 4), ("tres", 3), ("user", 1), ("wckey", 1))
# of these there are none here, ever: title and width of what Slurm lists
NEVER: dict[str, tuple[tuple[str, int], ...]] = {
    "federation": (("Federation", 10), ("Cluster", 10), ("ID", 2), ("Features", 20), ("FedState", 12)),
    "problem": (("Cluster", 10), ("Account", 10), ("User", 10), ("Problem", 40)),
    "reservation": (("Cluster", 10), ("Name", 15), ("TRES", 30), ("TimeStart", 19), ("TimeEnd", 19), ("UnusedWall", 10)),
    "resource": (("Name", 10), ("Server", 10), ("Type", 8), ("Count", 6), ("% Allocated", 11), ("ServerType", 10)),
    "wckey": (("WCKey", 10), ("Cluster", 10), ("User", 10)),
}
CONDITIONS = ("account", "cluster", "name", "partition", "qos", "user", "id", "parent", "defaultaccount", "description", "organization", "adminlevel",
              "start", "end")
SWITCHES = ("tree", "withassoc", "withcoordinator", "withdeleted", "withrawqoslevel", "withsubaccounts", "withfed", "onlydefaults", "wopinfo", "woplimits")


class Asked(msgspec.Struct):
    """A list command. Values of conditions are lower case, as names are there."""

    where: dict[str, frozenset[str]] = msgspec.field(default_factory=dict)
    fields: tuple[tuple[str, str], ...] = ()  # field and width as typed
    tree: bool = False
    associations: bool = False

    def of(self, *keys: str) -> frozenset[str]:
        return frozenset().union(*(self.where.get(key, frozenset()) for key in keys))


async def run(call: Call, client: Client, api: Api) -> int:
    """One sacctmgr call; the exit code."""
    raw = await start(call, client, api, HELP)
    if isinstance(raw, int):
        return raw
    try:
        out, code = _answer(raw.options, list(raw.rest), api), 0
        if callable(out):
            out = out(Times(call.env, api.now()))
    except Stop as stop:
        await say(client, stop.out, stop.err)
        return stop.code
    await say(client, out, "")
    return code


def _answer(options: dict[str, Any], words: list[str], api: Api) -> Any:
    verb = words[0].lower() if words else ""
    if not verb:
        raise Stop(f"sacctmgr: error: it takes its command from the command line here, as in: sacctmgr show user\n{HELP}")
    if verb == "version":
        return version(str(api.config.imitate)) + "\n"
    if verb == "help":
        return HELP
    if any(name.startswith(verb) for name in CHANGES) and len(verb) > 1 and not any(name.startswith(verb) for name in SHOWS):
        raise Stop(f"sacctmgr: error: {words[0]}: users, accounts and QOS are those of the configuration: change them there, then scontrol reconfigure\n")
    if not any(name.startswith(verb) for name in SHOWS):
        raise Stop(f"invalid keyword: {words[0]}\n")
    entity = _entity(words[1].lower() if len(words) > 1 else "")
    asked = _asked(entity, words[2:])
    asked.associations = asked.associations or "associations" in options
    return _list(entity, asked, options, api)


def _entity(word: str) -> str:
    word = {"acct": "account", "accts": "account", "assoc": "association", "assocs": "association"}.get(word, word)
    for name, least in ENTITIES:
        if len(word) >= least and (name.startswith(word) or name + "s" == word):
            return name
    raise Stop(NO_ENTITY)


def _asked(entity: str, words: list[str]) -> Asked:
    asked = Asked()
    for word in words:
        key, equals, value = word.partition("=")
        low = key.lower()
        if not equals:
            if low == "where":
                continue
            switch = next((name for name in SWITCHES if len(low) > 3 and name.startswith(low)), "")
            if switch:
                asked.tree = asked.tree or switch == "tree"
                asked.associations = asked.associations or switch in ("withassoc", "withsubaccounts")
                continue
            if entity == "association":
                raise Stop(f"sacctmgr: error: Invalid value for AssocId ({word})\n")
            low, value = "name", word
        if low and "format".startswith(low):
            asked.fields = tuple(_field(name) for name in value.split(",") if name)
            continue
        low = {"acct": "account", "accts": "account", "names": "name", "users": "user", "accounts": "account", "clusters": "cluster"}.get(low, low)
        known = next((name for name in CONDITIONS if low and name.startswith(low)), "")
        if not known:
            more = " Use keyword 'set' to modify value\n" if entity in ("user", "account") else ""
            raise Stop(f" Unknown condition: {word}\n{more}")
        names = frozenset(name for name in value.strip("'\"").lower().split(",") if name)
        asked.where[known] = asked.of(known) | names
    return asked


def _field(word: str) -> tuple[str, str]:
    name, _, width = word.partition("%")
    known = acctmgr_fields.field(name)
    if not known:
        raise Stop(f"Unknown field '{name}'\n")
    return known, width


def _list(entity: str, asked: Asked, options: dict[str, Any], api: Api) -> Any:
    config = api.config
    if entity == "runawayjobs":
        return f"Runaway Jobs: No runaway jobs found on cluster {config.cluster}\n"
    if entity in ("configuration", "event", "stats", "transaction"):
        raise Stop(f"sacctmgr: error: there is no database daemon that could tell of {entity}; scontrol show config has the settings\n")
    if entity in NEVER:
        titles, records = list(NEVER[entity]), []
        chosen = [acct_format.Column(title, width, lambda row, times: "") for title, width in titles]
    else:
        records = _records(entity, asked, config, api.view)
        wanted = asked.fields or tuple(_field(name) for name in DEFAULTS[entity][asked.associations].split())
        chosen = [_column(name, width) for name, width in wanted]

    def draw(times: Times) -> str:
        bar = "|" if "parsable" in options or "parsable2" in options else None
        printer = acct_format.Printer(chosen, times, bar, last="parsable" in options)
        return ("" if "noheader" in options else printer.header()) + "".join(printer.row(record) for record in records)  # type: ignore[arg-type]

    return draw


def _column(name: str, width: str) -> acct_format.Column:
    title, usual = FIELDS[name]
    sign, digits = ("-", width[1:]) if width[:1] == "-" else ("", width)
    room = min(int(digits[:9]), acct_format.MAX_WIDTH) if digits.isdecimal() else usual
    return acct_format.Column(title, -room if sign else room, lambda row, times: row.get(name, ""))  # type: ignore[attr-defined]


def _records(entity: str, asked: Asked, config: Any, view: View) -> list[Record]:
    if asked.of("cluster") and config.cluster.lower() not in asked.of("cluster"):
        return []
    if entity == "cluster":
        return [acctmgr_fields.cluster(config, len(view.nodes))] if not asked.of("name") or config.cluster.lower() in asked.of("name") else []
    if entity == "qos":
        return [record for record in acctmgr_fields.qos(config) if not asked.of("name") or record["Name"].lower() in asked.of("name")]
    if entity == "tres":
        return acctmgr_fields.tres(gres.name for node in view.nodes.values() for gres in node.gres)
    if entity == "association":
        return _associations(asked, config)
    return _users(asked, config) if entity == "user" else _accounts(asked, config)


def _associations(asked: Asked, config: Any) -> list[Record]:
    wanted = asked.of("user")
    lines = assoc.tree(config)
    if wanted and not asked.tree:
        lines = [line for name in sorted(wanted) for line in assoc.of_user(config, name)] if len(wanted) == 1 else lines
    lines = assoc.chosen(lines, asked.of("account"), wanted)
    if not asked.tree:
        return [acctmgr_fields.association(config, line) for line in lines]
    return [acctmgr_fields.association(config, line, " " * line.depth + line.account) for line in lines]


def _users(asked: Asked, config: Any) -> list[Record]:
    wanted = asked.of("name", "user")
    out: list[Record] = []
    for name in assoc.users(config):
        if wanted and name.lower() not in wanted:
            continue
        record = acctmgr_fields.user(config, name)
        lines = assoc.chosen(assoc.of_user(config, name), asked.of("account"), frozenset())
        if not asked.associations:
            out += [record] if lines or not asked.of("account") else []
            continue
        out += [{**acctmgr_fields.association(config, line), **record} for line in lines] or ([] if asked.of("account") else [record])
    return out


def _accounts(asked: Asked, config: Any) -> list[Record]:
    wanted, of_users = asked.of("name", "account"), asked.of("user")
    out: list[Record] = []
    for name in sorted([*assoc.accounts(config), assoc.ROOT]):
        lines = [line for line in assoc.tree(config) if line.account == name]
        if (wanted and name.lower() not in wanted) or (of_users and not of_users & {line.user for line in lines}):
            continue
        record = acctmgr_fields.account(name)
        out += [{**acctmgr_fields.association(config, line), **record} for line in lines] if asked.associations else [record]
    return out
