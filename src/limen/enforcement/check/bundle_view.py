"""The bundle in force as the check reads it: derived once, whenever the replica has another."""

from collections.abc import Mapping

from limen.administrator.active import ActiveBundle
from limen.administrator.replica import Replica
from limen.core.changes import BundleFact
from limen.enforcement.check.case import Outage
from limen.enforcement.check.places import Place, read_places
from limen.enforcement.check.request import Authority, Misdirected, parse_authority

FOUND_MAX = 1_024  # spellings of hosts, ports included, that are kept


class BundleView:
    """Places by host, under `active`, whose files are in `fact`."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self.active: ActiveBundle | None = None
        self.fact: BundleFact | None = None
        self._places: Mapping[str, Place] = {}
        self._found: dict[bytes, tuple[Authority, Place]] = {}

    def refresh(self) -> ActiveBundle:
        """Return the bundle in force, and be about it from now on.

        Raises:
            Outage: none is.
        """
        active = self._replica.active
        if active is None:
            error = self._replica.bundle_error
            raise Outage(f"no bundle is in force: {error.message if error else 'none is known'}")
        if active is not self.active:
            self._places, self.fact = read_places(active.catalogue), self._replica.bundle()
            self._found = {}
            self.active = active
        return active

    def find(self, raw_host: bytes) -> tuple[Authority, Place]:
        """Return what a `Host` header names.

        Raises:
            BadRequest: it is malformed.
            Misdirected: no app has this host.
        """
        found = self._found.get(raw_host)
        if found is None:
            authority = parse_authority(raw_host)
            place = self._places.get(authority.host)
            if place is None:
                raise Misdirected("No app of this system has this address.", remedy="Check the address.")
            found = (authority, place)
            if len(self._found) < FOUND_MAX:
                self._found[raw_host] = found
        return found
