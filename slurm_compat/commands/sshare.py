"""sshare: the associations with their shares. Priority is basic here (first come, first served), so no usage decays into it: Slurm prints the same then."""

from __future__ import annotations

import pwd

from sbroker.api import Api, Call, Client
from slurm_compat import acct_format
from slurm_compat import associations as assoc
from slurm_compat.acct_format import Column
from slurm_compat.commands.common import Stop, own_cluster, say, start, words
from slurm_compat.timefmt import Times

USAGE = "Usage: sshare [OPTION]\n"
FIELDS: dict[str, int] = {
    "Account": -20, "Cluster": 10, "EffectvUsage": 13, "FairShare": 10, "GrpTRESMins": 30, "GrpTRESRaw": 30, "ID": 6, "LevelFS": 10, "NormShares": 11,
    "NormUsage": 11, "Partition": 12, "RawShares": 10, "RawUsage": 11, "TRESRunMins": 30, "User": 10,
}
DEFAULT = "Account,User,RawShares,NormShares,RawUsage,EffectvUsage,FairShare"
LONG = "Account,User,RawShares,NormShares,RawUsage,NormUsage,EffectvUsage,FairShare,LevelFS,GrpTRESMins,TRESRunMins"
NO_RUN = "cpu=0,mem=0,energy=0,node=0,billing=0,fs/disk=0,vmem=0,pages=0"


async def run(call: Call, client: Client, api: Api) -> int:
    """One sshare call; the exit code."""
    raw = await start(call, client, api, USAGE)
    if isinstance(raw, int):
        return raw
    options = raw.options
    if "helpformat" in options:
        await client.out("".join(" ".join(name.ljust(17) for name in list(FIELDS)[at : at + 4]) + "\n" for at in range(0, len(FIELDS), 4)))
        return 0
    try:
        if "clusters" in options:
            own_cluster("sshare", str(options["clusters"]), api.config.cluster)
        chosen = [_column(word) for word in words(str(options.get("format") or (LONG if "long" in options else DEFAULT)))]
    except Stop as stop:
        await say(client, stop.out, stop.err)
        return stop.code
    lines = _lines(options, api, call.uid)
    bar = "|" if "parsable" in options or "parsable2" in options else None
    printer = acct_format.Printer(chosen, Times(call.env, api.now()), bar, last="parsable" in options)
    text = "" if "noheader" in options else printer.header()
    await client.out(text + "".join(printer.row(line) for line in lines))  # type: ignore[arg-type]
    return 0


def _column(word: str) -> Column:
    name, _, width = word.partition("%")
    known = next((field for field in FIELDS if name and field.lower().startswith(name.lower())), "")
    if not known:
        raise Stop(f'sshare: error: Invalid field requested: "{name}"\n')
    sign, digits = ("-", width[1:]) if width[:1] == "-" else ("", width)
    room = min(int(digits[:9]), acct_format.MAX_WIDTH) if digits.isdecimal() else FIELDS[known]
    return Column(known, -room if sign else room, lambda row, times: row.get(known, ""))  # type: ignore[attr-defined]


def _lines(options: dict[str, object], api: Api, uid: int) -> list[dict[str, str]]:
    config = api.config
    accounts, only_users = frozenset(words(str(options.get("accounts") or ""))), "Users" in options
    users = frozenset(words(str(options.get("users") or ""))) or frozenset({_name(uid)})
    out = []
    tree = assoc.chosen(assoc.tree(config), accounts, frozenset())
    least = min((line.depth for line in tree), default=0)
    for line in tree:
        if line.user and "all" not in options and line.user not in users:
            continue
        if only_users and not line.user:
            continue
        out.append(_cells(line, config.cluster, "" if only_users else " " * (line.depth - least)))
    return out


def _cells(line: assoc.Association, cluster: str, indent: str) -> dict[str, str]:
    cells = {"Account": indent + line.account, "User": line.user, "RawShares": "1" if line.depth else "", "RawUsage": "0", "EffectvUsage": "0.000000",
             "FairShare": "0.000000" if line.user else "", "LevelFS": "0.000000" if line.depth else "", "Cluster": cluster, "ID": str(line.id),
             "TRESRunMins": NO_RUN}
    return cells


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
