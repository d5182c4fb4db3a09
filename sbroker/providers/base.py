"""The contract of a provider: what makes nodes. One file a kind in this folder, with a class `Provider`; or an entry point of the group
``sbroker.providers``. A provider knows nothing of jobs, and its state is learnt only from `list`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from sbroker.clock import Clock
from sbroker.config.units import Seconds, Text
from sbroker.errors import SbrokerError
from sbroker.machines import Ask, Endpoint, Entry, Group, Listing, MachineState, Offer, Order
from sbroker.model import Node, Value

__all__ = [
    "Ask", "Context", "ElsewhereSettings", "Endpoint", "Entry", "Group", "Listing", "MachineState", "Offer", "Order", "Provider", "ProviderError",
    "SiteSettings", "SoftwareSettings", "check_software",
]  # fmt: skip

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+:/@=-]*")


class ProviderError(SbrokerError):
    """The provider did not answer as expected: nothing is known of what it did. Ask `list`; the same token may be created again."""


class SiteSettings(Value, frozen=True, kw_only=True):
    """Keys that a site of any kind may have; a kind adds its own in a subclass."""

    provider: str
    features: tuple[str, ...] = ()
    weight: int = 1
    network: str | None = None  # sites of one network can run one job together; None: the site's own
    shared_fs: bool | tuple[str, ...] = False  # path prefixes that exist there as here
    stage: Literal["allow", "deny"] | None = None  # whether jobs' files may be brought there where they are not shared; None: as the kind has it
    stage_out_grace: Seconds | None = None  # how long a node is kept when files do not come back; None: the cluster's
    ports: str | int | None = None  # where agents take calls of other nodes' supervisors: LOW-HIGH; 0 any; None: as the transport needs it


class SoftwareSettings(SiteSettings, frozen=True, kw_only=True):
    """What a job finds on the nodes of the site besides the machine. All of it is applied on the node, before the job's script, before the
    tasks of srun alone and before an interactive shell (`sbroker.agent.site`)."""

    twin: bool = False  # same software, users and paths as the submit host: jobs keep its environment and its limits
    setup: str | None = None  # shell text; what it exports is the job's
    modules: tuple[str, ...] = ()  # for `module load`
    env: dict[str, Text] = {}  # variables that every job has there, unless --export names its own


class ElsewhereSettings(SoftwareSettings, frozen=True, kw_only=True):
    """A site whose machines do not have this one's files and software. A kind refuses in `check` what it cannot do of this."""

    mounts: dict[str, str] = {}
    image: str | None = None
    lease: Seconds | None = None  # after which a batch job that may be requeued ends itself there while the broker is not heard; None: never


def check_software(settings: SoftwareSettings) -> None:
    """ValueError that begins with the key, for what no shell could take. For `Provider.check`."""
    for name in settings.env:
        if not _NAME.fullmatch(name):
            raise ValueError("env: %r cannot be the name of a variable" % name)
        if name.startswith(("SLURM_", "SBROKER_")):
            raise ValueError("env: %s belongs to the job: a site cannot set it" % name)
    for module in settings.modules:
        if not _MODULE.fullmatch(module):
            raise ValueError("modules: %r cannot be the name of a module: write for example gcc/12.2" % module)
    if "\0" in (settings.setup or "") or any("\0" in value for value in settings.env.values()):
        raise ValueError("setup: it holds a NUL byte, which no shell takes")


class Context(Value, frozen=True, kw_only=True):
    """What a provider is told besides its settings."""

    site: str
    spool: str = ""  # folder for what local agents keep
    folder: str = ""  # of the configuration: what relative paths in it begin at
    store_id: str = ""  # tag of what is ours
    clock: Any = None  # a sbroker.clock.Clock


class Provider(ABC):
    """Base of all kinds. Methods block: providers that reach out of this machine are run in a worker process (`worker`).

    `fixed` kinds have their machines already: `nodes` lists them, nothing is created. All raise the errors of `sbroker.errors` that name
    the next move (NoCapacity, QuotaExceeded, AuthRefused, Unsatisfiable), else ProviderError.
    """

    Settings: ClassVar[type[SiteSettings]] = SiteSettings
    fixed: ClassVar[bool] = False
    stage: ClassVar[bool] = True  # jobs' files may be brought there unless the site says `stage: deny`; False: only where it says `allow`
    remote: ClassVar[bool] = True  # run it in a worker process
    boots: ClassVar[bool] = False  # machines run the order's boot data (sbroker.fleet.boot): settings have user, directory, max_unattended, max_lifetime
    atomic: bool = False  # groups live and die whole
    dies_by: Literal["self", "ttl", "broker", "never"] = "broker"  # what ends a machine when the broker is away; never: not ours to end
    environ: ClassVar[tuple[str, ...]] = ()  # variables of the broker that a worker process gets: credentials of this kind only
    list_lag: float = 0.0  # seconds until `list` surely shows what was created, and no more what is gone

    def __init__(self, settings: Any, context: Context) -> None:
        self.settings, self.context = settings, context

    @property
    def clock(self) -> Clock:
        return self.context.clock

    @classmethod
    def check(cls, site: str, settings: Any) -> None:
        """ValueError, with a sentence, if the settings contradict each other. Asks nobody."""

    @classmethod
    def files(cls, settings: Any) -> dict[str, str]:
        """Key → path, relative to the configuration's folder, of the files on this host that the settings name and that have to be there."""
        return {}

    def nodes(self) -> Iterable[Node]:
        """The nodes of a fixed site; for others those it may make, as far as they are known in advance."""
        return ()

    @abstractmethod
    def offers(self, ask: Ask) -> Iterable[Offer]:
        """What could be had that satisfies `ask`, in any order."""

    @abstractmethod
    def create(self, order: Order) -> None:
        """Order the group; with the same token again nothing more is made."""

    @abstractmethod
    def list(self) -> Listing:
        """All machines and groups of ours, queued ones included."""

    @abstractmethod
    def terminate(self, token: str, ids: tuple[str, ...] | None = None) -> None:
        """End a group, or some machines of it; what is gone already is no error."""

    def close(self) -> None:
        """Let go of what the provider holds here."""
