"""The command `sbroker`: up, down, status, doctor, options, plan, explain, cost, sync, ssh, ssh-config, ssh-proxy.

`up`, `down` and `doctor` act here; what needs the broker is asked of it as a call named "sbroker" and runs on its side
(`broker_side`). Users of the cluster need none of it but ssh and sync.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import click

from sbroker.api import FrontEnd
from sbroker.errors import SbrokerError

_DAYS = ["%Y-%m-%d", "%Y-%m"]
FrontEndMaker = Callable[[], FrontEnd]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sbroker")
def cli() -> None:
    """One Slurm for every machine you can reach: the broker's own commands."""


@cli.command()
def up() -> None:
    """Start the personal broker, if it does not run."""
    from sbroker.cli import lifecycle

    click.echo(lifecycle.up())


@cli.command()
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for its end.")
@click.option("--cancel", is_flag=True, help="End all jobs first.")
@click.option("--keep", is_flag=True, help="Leave running jobs to the next broker.")
def down(timeout: float, cancel: bool, keep: bool) -> None:
    """Stop the broker; refused while jobs exist, unless they are to be cancelled or kept."""
    from sbroker.cli import lifecycle

    click.echo(lifecycle.down(timeout, cancel=cancel, keep=keep))


@cli.command()
def doctor() -> None:
    """Look at what a broker needs on this machine; each finding says what to do."""
    from sbroker.cli import checkup

    findings = checkup.examine(os.environ)
    for finding in findings:
        click.echo("%-4s  %s" % (finding.level, finding.sentence))
    if any(finding.level == checkup.BAD for finding in findings):
        sys.exit(1)


@cli.command()
@click.argument("command", required=False)
@click.option("--class", "kind", type=click.Choice(["honoured", "harmless", "refused"]), help="Only options of this class.")
@click.pass_obj
def options(front_end: FrontEndMaker, command: str | None, kind: str | None) -> None:
    """Which options of Slurm's commands are honoured, harmless or refused."""
    from tabulate import tabulate

    rows = [row for row in front_end().option_rows() if command in (None, row["command"]) and kind in (None, row["class"])]
    if not rows:
        raise click.ClickException("no such options" + (" of " + command if command else ""))
    keys = ("command", "option", "class", "note")
    click.echo(tabulate([[row[key] for key in keys] for row in rows], headers=keys, tablefmt="plain"))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: pid, socket, store, agents.")
def status(as_json: bool) -> None:
    """The broker's pid, and what it has."""
    _relay("status", *(["--json"] if as_json else []))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def machines(as_json: bool) -> None:
    """What the sites that make machines have now, and what each costs."""
    _relay("machines", *(["--json"] if as_json else []))


@cli.command()
@click.option("--by", type=click.Choice(["job", "user", "account", "site", "month"]), default="account", show_default=True, help="What a row is about.")
@click.option("-S", "--start", type=click.DateTime(_DAYS), help="From this day or month on (UTC); the present month if neither is given.")
@click.option("-E", "--end", type=click.DateTime(_DAYS), help="Before this day or month.")
@click.option("-A", "--account", "accounts", multiple=True, help="Only jobs of this account; may be repeated.")
@click.option("-u", "--user", "users", multiple=True, help="Only jobs of this user; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def cost(by: str, start: datetime | None, end: datetime | None, accounts: tuple[str, ...], users: tuple[str, ...], as_json: bool) -> None:
    """What jobs have cost, and machines beyond them. You see your own; operators see all."""
    import json

    days = {name: value.replace(tzinfo=timezone.utc).timestamp() if value else None for name, value in (("start", start), ("end", end))}
    _relay("cost", json.dumps({"by": by, "accounts": accounts, "users": users, "json": as_json, **days}))


@cli.command()
def reap() -> None:
    """Terminate machines that bear this broker's mark and belong to none of its groups."""
    _relay("reap")


@cli.group("catalog")
def catalog_commands() -> None:
    """What can be bought where, and at what price."""


@catalog_commands.command("list")
@click.argument("words", nargs=-1)
@click.option("--regions", multiple=True, help="Only in regions that match (us-*), or in a country or group of countries (de, eu); may be repeated.")
@click.option("--cloud", "clouds", multiple=True, help="Only of this cloud; may be repeated.")
@click.option("--count", default=0, help="With so many accelerators at least.")
@click.option("--cpus", default=0, help="With so many CPUs at least.")
@click.option("--memory", default="0", metavar="SIZE", help="With so much memory at least: 64G.")
@click.option("--spot/--ondemand", "spot", default=None, help="Only of this market.")
@click.option("--max-price", type=float, help="At most so many USD an hour.")
@click.option("--all", "every", is_flag=True, help="Not only the 20 cheapest.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def catalog_list(words: tuple[str, ...], memory: str, every: bool, **fields: Any) -> None:
    """The cheapest offers; WORDS are accelerators (a100, A100-80GB) or machine types (g5.*)."""
    from sbroker.cli import catalog as side
    from sbroker.config.units import size

    try:
        mib = size(memory)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--memory") from error
    click.echo(side.listing(side.here(), side.Filter(words=words, memory=mib, most=0 if every else 20, **fields)))


@catalog_commands.command("show")
@click.argument("type")
def catalog_show(type: str) -> None:
    """One machine type, wherever it is sold."""
    from sbroker.cli import catalog as side

    click.echo(side.show(side.here(), type))


@catalog_commands.command("refresh")
@click.argument("sites", nargs=-1)
def catalog_refresh(sites: tuple[str, ...]) -> None:
    """Have the broker ask SITES (all, if none is named) now what they sell."""
    _relay("catalog-refresh", *sites)


@catalog_commands.command("import")
@click.argument("cloud")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
def catalog_import(cloud: str, files: tuple[str, ...]) -> None:
    """Keep catalogues in SkyPilot's CSV format as what CLOUD (aws, gcp, ...) sells, until its provider says."""
    from sbroker.cli import catalog as side

    click.echo(side.bring(cloud, files))


@cli.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def plan(arguments: tuple[str, ...]) -> None:
    """Where and when a job would start: arguments as of sbatch. Nothing is submitted."""
    from sbroker.cli import ask

    sys.exit(ask.relay("sbatch", ["--test-only", *arguments]))


@cli.command()
@click.argument("job")
def explain(job: str) -> None:
    """Where JOB could run, and why not elsewhere or not yet."""
    _relay("explain", job)


@cli.command()
@click.argument("job")
def sync(job: str) -> None:
    """Bring the files of JOB up to date on both sides now: what it has changed on its nodes, and what was changed here."""
    _relay("sync", job)


_OPERANDS = {"ignore_unknown_options": True, "allow_interspersed_args": False}  # what follows the node is the node's


@cli.command(context_settings=_OPERANDS)
@click.option("-J", "--jobid", "job", default="-", metavar="JOB", help="Into this job; without it into your newest one there.")
@click.option("-t/-T", "terminal", default=None, help="With a terminal, or without one; without either as ssh decides.")
@click.argument("node")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(job: str, terminal: bool | None, node: str, command: tuple[str, ...]) -> None:
    """A shell (or COMMAND) on NODE, inside your running job there."""
    from sbroker.cli import logins

    sys.exit(logins.login(node, command, job, terminal))


@cli.command("ssh-config")
@click.option("-J", "--jobid", "job", default="-", metavar="JOB", help="Always into this job.")
@click.argument("nodes", nargs=-1)
def ssh_config(job: str, nodes: tuple[str, ...]) -> None:
    """Host blocks for ~/.ssh/config, for NODES or all: ssh, scp, sftp, rsync and editors then reach nodes where you have a running job."""
    from sbroker.cli import logins

    click.echo(logins.config(nodes, job), nl=False)


@cli.command("ssh-proxy")
@click.option("-J", "--jobid", "job", default="-", metavar="JOB", help="Into this job.")
@click.option("--keys", "place", default="", metavar="FOLDER", help="Where the keys lie.")
@click.argument("node")
def ssh_proxy(job: str, place: str, node: str) -> None:
    """What ssh-config names as ProxyCommand: standard input and output are the connection to an sshd inside the job."""
    from sbroker.cli import logins

    sys.exit(logins.proxy(node, job, place))


def _relay(*argv: str) -> None:
    from sbroker.cli import ask

    sys.exit(ask.relay("sbroker", list(argv)))


def main(argv: list[str], front_end: FrontEndMaker) -> int:
    """Run the command; returns its exit code."""
    try:
        cli.main(args=argv, prog_name="sbroker", obj=front_end, standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except SbrokerError as error:
        click.echo("sbroker: error: %s" % error, err=True)
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
