"""The bundle in force as the check reads it: derived once, whenever the replica has another."""

from collections.abc import Mapping

from limen.administrator.active import ActiveBundle
from limen.administrator.replica import Replica
from limen.core.changes import BundleFact
from limen.enforcement.check.case import Outage
from limen.enforcement.check.places import Place, read_places


class BundleView:
    """Places by host, under `active`, whose files are in `fact`."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self.active: ActiveBundle | None = None
        self.fact: BundleFact | None = None
        self._places: Mapping[bytes, Place] = {}

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
            self.active = active
        return active

    def place(self, host: str) -> Place | None:
        """Return the place with this host name, or None."""
        return self._places.get(host.encode())
