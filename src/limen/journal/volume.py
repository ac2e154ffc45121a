"""How much was asked and carried: requests and bytes, by who and what, live streams included.

Envoy tells the bytes of a request, or of a live stream, once it has ended, in the outcome of its decision.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from limen.core.ids import Instant
from limen.journal import stored
from limen.journal.compacted import opened_table
from limen.journal.frame import Kind
from limen.journal.keys import Keys
from limen.journal.sealed import erased_name
from limen.journal.search import WITH_OUTCOMES
from limen.journal.segments import SegmentName

NOBODY = "nobody"

_COLD = """
SELECT key, subject, resource, count(*), sum(bytes_in), sum(bytes_out) FROM part
WHERE kind = $decision AND point = $point AND "at" >= $since GROUP BY ALL
"""
_LATER = """
SELECT d.key, d.subject, d.resource, 0, sum(o.bytes_in), sum(o.bytes_out)
FROM part d JOIN part o ON d.id = o.id
WHERE d.kind = $decision AND o.kind = $outcome AND d.point = $point AND d."at" >= $since GROUP BY ALL
"""
_OPEN = """
SELECT id, key, subject, resource FROM part
WHERE kind = $decision AND point = $point AND "at" >= $since AND id IS NOT NULL
"""


class Volume(msgspec.Struct):
    """Requests, and their bytes from and to the client."""

    requests: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    def add(self, requests: int, bytes_in: int, bytes_out: int) -> None:
        """Count more."""
        self.requests += requests
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out


class Place(NamedTuple):
    """Who asked for what, as stored: the key of a person, or a subject in clear."""

    key: str
    subject: str
    resource: str


class _Brief(msgspec.Struct):
    id: str
    at: Instant = 0.0
    point: str = ""
    key: str = ""
    subject: str | None = None
    resource: str = ""
    bytes_in: int = 0
    bytes_out: int = 0


_brief = msgspec.json.Decoder(_Brief)


def count_volume(root: Path, since: Instant) -> dict[Place, Volume]:
    """Return the volume of every pair of person and resource since an instant."""
    found: dict[Place, Volume] = defaultdict(Volume)
    waiting: dict[str, Place] = {}  # decisions whose outcome is in a later segment
    names = [name for node in stored.list_nodes(root) for name in stored.list_stored(root / node)]
    cold = [name.path for name in names if name.path.suffix == stored.COMPACTED]
    if cold:
        _count_cold(cold, since, found, waiting)
    for name in names:
        if name.path.suffix != stored.COMPACTED:
            _count_hot(name, since, found, waiting)
    return dict(found)


def by_person(found: Mapping[Place, Volume], keys: Keys) -> dict[str, Volume]:
    """Return the volume of each person and workload."""

    def whose(place: Place) -> tuple[str, ...]:
        if place.key:
            return (keys.owner(place.key) or f'User::"{erased_name(place.key)}"',)
        return (place.subject or NOBODY,)

    return _by(found, whose)


def by_app(found: Mapping[Place, Volume]) -> dict[str, Volume]:
    """Return the volume of each app and service, its routes included."""
    return _by(found, lambda place: (app_of(place.resource),))


def by_label(found: Mapping[Place, Volume], labels: Callable[[str], Iterable[str]]) -> dict[str, Volume]:
    """Return the volume of each label; `labels` tells those that a resource bears."""
    return _by(found, lambda place: labels(place.resource))


def app_of(resource: str) -> str:
    """Return the name of the app or service that a resource is, or is part of."""
    return resource.partition('::"')[2].removesuffix('"').partition("/")[0] or resource


def _by(found: Mapping[Place, Volume], names: Callable[[Place], Iterable[str]]) -> dict[str, Volume]:
    sums: dict[str, Volume] = defaultdict(Volume)
    for place, volume in found.items():
        for name in names(place):
            sums[name].add(volume.requests, volume.bytes_in, volume.bytes_out)
    return dict(sums)


def _count_cold(
    paths: list[Path], since: Instant, found: dict[Place, Volume], waiting: dict[str, Place]
) -> None:
    values = {"decision": int(Kind.DECISION), "point": WITH_OUTCOMES, "since": since}
    with opened_table(paths) as table:
        later = table.query(_LATER, {**values, "outcome": int(Kind.OUTCOME)})
        for key, subject, resource, *counts in (*table.query(_COLD, values), *later):
            found[Place(key or "", subject or "", resource or "")].add(*(int(one or 0) for one in counts))
        for decision, key, subject, resource in table.query(_OPEN, values):
            waiting[decision] = Place(key or "", subject or "", resource or "")


def _count_hot(
    name: SegmentName, since: Instant, found: dict[Place, Volume], waiting: dict[str, Place]
) -> None:
    for frame in stored.frames(name):
        if frame.kind not in (Kind.DECISION, Kind.OUTCOME) or frame.payload is None:
            continue
        try:
            record = _brief.decode(frame.payload)
        except msgspec.MsgspecError:
            continue
        if frame.kind == Kind.DECISION and record.point == WITH_OUTCOMES and record.at >= since:
            waiting[record.id] = Place(record.key, record.subject or "", record.resource)
            found[waiting[record.id]].add(1, 0, 0)
        elif frame.kind == Kind.OUTCOME and record.id in waiting:
            found[waiting.pop(record.id)].add(0, record.bytes_in, record.bytes_out)
