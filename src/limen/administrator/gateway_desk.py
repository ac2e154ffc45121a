"""Who may be a gateway: tokens, joining, certificates and their renewal; each told to the journal.

Laws:
    W1 a token works once, in its time, for its node.
    W2 a certificate counts while its node is joined and only if it was issued since: who is removed, or
       replaced by another machine of that name, is refused with every certificate from before.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from limen.administrator.gateway_ca import GatewayCa, GatewayCertificate, Issued, verify_node
from limen.administrator.join_wire import SECRET_BYTES, Join, JoinToken, Welcome, render_token
from limen.administrator.ledger import Ledger
from limen.administrator.ship_wire import journal_of_next
from limen.core.clock import Clock
from limen.core.errors import Invalid, Refused
from limen.core.secret import Secret
from limen.core.tokens import token_hash
from limen.store import gateways

TOKEN_LIFE_S = 3_600.0
TOKEN_LIFE_MAX_S = 7 * 86_400.0


class GatewayKeys(msgspec.Struct, frozen=True):
    """What every gateway holds, base64: see `Welcome`."""

    token_key: Secret[str]
    app_secret_key: Secret[str]


class GatewayDesk:
    """Admits gateways of other machines. `addresses` are control's own, as those reach them."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        ca: GatewayCa,
        *,
        keys: GatewayKeys,
        addresses: tuple[str, ...],
        domain: Callable[[], str],
    ) -> None:
        self._ledger, self._clock, self._ca, self._keys = ledger, clock, ca, keys
        self._addresses, self._domain = addresses, domain

    def make_token(
        self,
        node: str,
        *,
        actor: str,
        reason: str,
        life_s: float = TOKEN_LIFE_S,
        addresses: tuple[str, ...] = (),
    ) -> Secret[str]:
        """Return a new join token of a gateway; an unused one from before works no longer.

        Raises:
            Invalid: the name or the life cannot be.
        """
        verify_node(node)
        if not 0 < life_s <= TOKEN_LIFE_MAX_S:
            raise Invalid(
                "A join token lives for at most seven days.", remedy="Say --for 1h, or make it when needed."
            )
        secret = secrets.token_urlsafe(SECRET_BYTES)
        with self._ledger.entry(actor, reason) as entry:
            expires_at = entry.tx.now + life_s
            gateways.add_join_token(entry.tx, node, token_hash(secret), expires_at)
            entry.note("gateway.token", target=node, expires_at=expires_at)
        return render_token(JoinToken(node, addresses or self._addresses, self._ca.fingerprint, secret))

    def join(self, request: Join, *, address: str) -> Welcome:
        """Make a machine the gateway of its token.

        Raises:
            Refused: the token is spent, expired, or of another node (law W1); the request is foreign.
            Invalid: a key that we do not take.
        """
        node = verify_node(request.node)
        jwk = verify_jwk(request.assertion_jwk)
        with self._ledger.entry(f"gateway:{node}", "joined with a token", ip=address) as entry:
            actor = gateways.use_join_token(entry.tx, token_hash(request.secret), node)
            before = gateways.load_gateway(entry.tx.connection, node)
            issued = self._ca.issue_gateway(node, request.csr, self._clock.now())
            gateways.join_gateway(entry.tx, node, serial=issued.serial, expires_at=issued.expires_at, jwk=jwk)
            entry.note("gateway.joined", target=node, token_by=actor, serial=issued.serial, kid=jwk["kid"])
        return Welcome(
            node=node,
            domain=self._domain(),
            chain=issued.chain,
            ca=issued.ca,
            token_key=self._keys.token_key.reveal(),
            app_secret_key=self._keys.app_secret_key.reveal(),
            journal=node if before is None else journal_of_next(node, entry.tx.now),
        )

    def admit(self, certificate: GatewayCertificate) -> None:
        """Check a certificate that TLS has verified (law W2).

        Raises:
            Refused: its gateway is not joined, has joined anew since, or it has expired.
        """
        with self._ledger.store.read() as connection:
            row = gateways.load_gateway(connection, certificate.node)
        if row is None or row.state != gateways.JOINED:
            raise gateways.removed_gateway(certificate.node)
        if certificate.issued_at < int(row.joined_at) and certificate.serial != row.certificate_serial:
            raise gateways.removed_gateway(certificate.node)
        if certificate.expires_at <= self._clock.now():
            raise Refused(
                f"The certificate of the gateway '{certificate.node}' has expired.",
                remedy="Join it again with a new token.",
                code="GATEWAY_EXPIRED",
            )

    def renew(self, certificate: GatewayCertificate, csr: str) -> Issued:
        """Return the next certificate of a gateway that still has one.

        Raises:
            Refused: it has none that counts, or asks for other names.
            Invalid: the request is broken.
        """
        self.admit(certificate)
        node = certificate.node
        issued = self._ca.issue_gateway(node, csr, self._clock.now())
        with self._ledger.entry(f"gateway:{node}", "renewed by itself") as entry:
            gateways.renew_gateway(entry.tx, node, serial=issued.serial, expires_at=issued.expires_at)
            entry.note("gateway.renewed", target=node, serial=issued.serial)
        return issued


def verify_jwk(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the public P-256 key of a gateway's assertions, under the name that we compute.

    Raises:
        Invalid: not such a key, or a private one.
    """
    try:
        if "d" in given:
            raise ValueError
        key = ECKey.import_key({name: str(given[name]) for name in ("kty", "crv", "x", "y")})
        if key.curve_name != "P-256":
            raise ValueError
        public = key.as_dict(private=False)
    except (JoseError, KeyError, ValueError, TypeError):
        raise Invalid(
            "The gateway's assertion key is not a public key of the curve P-256.",
            remedy="Let `limen gateway join` send it.",
            code="JOIN_INVALID",
        ) from None
    public = {name: public[name] for name in ("kty", "crv", "x", "y")}
    return {**public, "kid": key.thumbprint(), "alg": "ES256", "use": "sig"}
