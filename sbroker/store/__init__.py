"""The database of a broker: the live state to start from, group commit, scripts and environments, accounting.

Changes are handed to one writer thread, which commits whatever has queued; the caller goes on at once and waits with what it would say
or do until `durable` has reached the number it was given. Decides nothing.
"""

from sbroker.store.database import StaleEpoch
from sbroker.store.store import Store

__all__ = ["StaleEpoch", "Store"]
