"""What a machine must prove beside its token: the key or the certificate that the token is bound to.

Laws:
    P1 of this request (RFC 9449 section 4.3). A proof is for this method, this address and this token.
    P2 once. A gateway takes a proof once, and none from before it began to remember.
    P4 no downgrade. A bound token without its proof opens nothing, whatever scheme it comes by; nor does a
       proof make a token bound that is not.
"""

import hmac
from collections import OrderedDict
from collections.abc import Callable

from limen.core.changes import WorkloadSessionFact
from limen.core.clock import Clock
from limen.core.ids import Instant
from limen.enforcement.check.asked import Asked, origin
from limen.enforcement.check.seats import Seat
from limen.information.identity.dpop import AGE_MAX_S, LEEWAY_S, verify_proof
from limen.information.identity.jwks import TokenInvalid

SPENT_MAX = 200_000  # proofs that one gateway remembers: 3,000 a second for as long as each is good
TOLD_EVERY_S = 60.0  # an event about one workload no more often

Tell = Callable[[str, str, Asked], None]
"""Told, once in a while, which workload failed to prove what, and at which request."""


class Proofs:
    """Verifies proofs, and remembers them."""

    def __init__(self, clock: Clock, tell: Tell) -> None:
        self._clock = clock
        self._tell = tell
        self._began_at = clock.now()
        self._spent: OrderedDict[str, Instant] = OrderedDict()
        self._told: dict[str, Instant] = {}

    def failure(self, asked: Asked, seat: Seat) -> str:
        """Return what a request fails to prove of a machine's session; empty for nothing.

        Whoever shows a certificate, and no token, has proven it to Envoy.
        """
        machine = seat.machine
        if machine is None or seat.certificate is not None:
            return ""
        why = _certificate_failure(asked, machine) or self._key_failure(asked, machine)
        if why:
            self._note(machine.workload, why, asked)
        return why

    def _key_failure(self, asked: Asked, machine: WorkloadSessionFact) -> str:
        credentials = asked.credentials
        if not machine.jkt:
            return "the token is bound to no key, and came as one that is" if credentials.dpop else ""
        if not credentials.proof or credentials.token is None:
            return "the token is bound to a key, and came without a proof"
        url = origin(asked) + (asked.target.path or "/")
        mine = f"dpop:{machine.jkt}"

        def spend(kind: str, value: str, expires_at: Instant) -> bool:
            """Remember proofs of the right key alone: who stole a token must not fill the memory."""
            return kind != mine or self._spend(kind, value, expires_at)

        try:
            thumbprint = verify_proof(
                credentials.proof,
                asked.request.method,
                url,
                now=self._clock.now(),
                spend=spend,
                access_token=credentials.token,
            )
        except TokenInvalid as error:
            return error.message
        matches = hmac.compare_digest(thumbprint, machine.jkt)
        return "" if matches else "the proof is of another key than the token's"

    def _spend(self, kind: str, value: str, expires_at: Instant) -> bool:
        now = self._clock.now()
        while self._spent and next(iter(self._spent.values())) < now:
            self._spent.popitem(last=False)
        key = f"{kind}\0{value}"
        # What is older than this memory may have been used before it began.
        known_since = self._began_at + AGE_MAX_S + LEEWAY_S
        if (
            key in self._spent
            or expires_at < known_since
            or len(self._spent) >= SPENT_MAX
            or len(value) > 256
        ):
            return False
        # A little longer than it must, so that the order of the memory is that of its ends.
        self._spent[key] = now + AGE_MAX_S + 2 * LEEWAY_S
        return True

    def _note(self, workload: str, why: str, asked: Asked) -> None:
        now = self._clock.now()
        if now - self._told.get(workload, -TOLD_EVERY_S) >= TOLD_EVERY_S:
            self._told[workload] = now
            self._tell(workload, why, asked)


def _certificate_failure(asked: Asked, machine: WorkloadSessionFact) -> str:
    if not machine.x5t:
        return ""
    certificate = asked.credentials.certificate
    if certificate is None:
        return "the token is bound to a certificate, and came without"
    matches = hmac.compare_digest(certificate.x5t, machine.x5t)
    return "" if matches else "the token is bound to another certificate"
