"""What one site sells, and the columns by which it is asked."""

from __future__ import annotations

from functools import cached_property

from sbroker.catalog import places
from sbroker.catalog.index import Index
from sbroker.machines import Offer


class Market:
    """What one site sells. Made once from the site's offers, asked often. `at`: when the site said so (seconds since the epoch), 0: a list
    that ships. The columns are made when they are first asked for: `prepare` makes those that most questions need, where there is time."""

    def __init__(self, site: str, offers: tuple[Offer, ...], *, at: float = 0.0, error: str = "") -> None:
        self.site, self.offers, self.at, self.error = site, offers, at, error
        self.unlimited = False  # how many there are now does not count

    @cached_property
    def index(self) -> Index:
        return Index(self.offers)

    def prepare(self) -> None:
        """Make the columns now. Takes about a second for a hundred thousand offers; may run in another thread."""
        index = self.index
        for column in (index.arch, index.boot, index.spot, index.region):
            column.any(column.positions)
        _ = (index.cpus, index.memory, index.tmp, index.place, index.size)
        index.devices("", "", 1)
        self.words()

    def whole(self) -> Market:
        """The same as if everything of it could be had now."""
        return self._whole

    @cached_property
    def _whole(self) -> Market:
        made = Market(self.site, self.offers, at=self.at, error=self.error)
        made.__dict__["index"] = self.index
        made.unlimited = True
        return made

    def words(self) -> tuple[frozenset[str], frozenset[str]]:
        """Features of its machines, and names of their generic resources."""
        return self._words

    @cached_property
    def _words(self) -> tuple[frozenset[str], frozenset[str]]:
        index = self.index
        found = {"spot", "ondemand", *places.ARCHITECTURES, *index.cloud.positions, *index.region.positions, *index.zone.positions}
        found.update(index.type.positions, index.features())
        for cloud, region in {(cloud, region) for cloud, region, _ in index.place.positions}:
            found.update(places.words(cloud, region))
        return frozenset(found - {""}), frozenset(index.resources())
