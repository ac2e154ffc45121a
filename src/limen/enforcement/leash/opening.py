"""Opening: from what the check allowed to the live stream that is kept for it."""

from collections.abc import Callable

import msgspec

from limen.administrator.streams import Ending, LiveStream, Streams, reads_of
from limen.core.catalogue import StreamLimits
from limen.core.decision import AccessRequest
from limen.core.ids import EntityRef, Instant
from limen.enforcement.check.asked import Asked
from limen.enforcement.check.case import Opening
from limen.enforcement.check.places import is_unsafe
from limen.enforcement.check.request import ORIGIN, UPGRADE

LIMITS = ("per_session", "per_subject", "per_resource")
_UNLIMITED = StreamLimits(per_session=1 << 62, per_subject=1 << 62, per_resource=1 << 62)


def limit_met(streams: Streams, opening: Opening) -> str | None:
    """Return which of the resource's limits one more stream would exceed, or None."""
    question, limits = opening.case.question, opening.case.asked.place.streams
    if not _refuses(streams, question, limits):
        return None
    for name in LIMITS:
        alone = msgspec.structs.replace(_UNLIMITED, **{name: getattr(limits, name)})
        if _refuses(streams, question, alone):
            return name
    return LIMITS[-1]


def live_stream(opening: Opening, protocol: str, close: Callable[[Ending], None]) -> LiveStream:
    """Return the live stream of an allowed request. It keeps nothing else of the request."""
    case = opening.case
    question, seat, place = case.question, case.seat, case.asked.place
    facts = opening.facts
    return LiveStream(
        question=question,
        network=case.asked.network,
        app=place.session_app,
        token_hash="" if seat is None else seat.token_hash,
        token_kind="" if seat is None else seat.token_kind,
        certificate=None if seat is None else seat.certificate,
        staleness_max_s=place.staleness_max_s(case.asked.match),
        protocol=protocol,
        opened_at=question.at,
        max_at=question.at + place.streams.max_s,
        idle_s=place.streams.idle_s,
        close=close,
        reads=_resource_alone(question.resource) if facts is None else reads_of(facts),
        deadline_at=_deadline(opening),
        page=_page(case.asked),
        would_be="" if opening.decision.allowed else opening.decision.verdict.value,
    )


def _page(asked: Asked) -> str:
    """Return the origin of another page than the app's own, where that was asked for: at handshakes, and
    for methods that may change something. `Check` has let it in.
    """
    request = asked.request
    if UPGRADE not in request.headers and not is_unsafe(request.method):
        return ""
    origin = request.headers.get(ORIGIN, b"").decode("latin-1")
    own = f"https://{asked.authority.host}{asked.authority.port}"
    return "" if origin == own else origin


def _deadline(opening: Opening) -> Instant | None:
    """The engine looks at the single sign-on session; the app session may end before it (law R3)."""
    at, seat = opening.decision.deadline_at, opening.case.seat
    if seat is None:
        return at
    return seat.expires_at if at is None else min(at, seat.expires_at)


def _refuses(streams: Streams, question: AccessRequest, limits: StreamLimits) -> bool:
    found = streams.refusal(question.session_id, question.subject, question.resource, limits)
    return found is not None


def _resource_alone(resource: EntityRef) -> tuple[EntityRef, ...]:
    return (resource,)
