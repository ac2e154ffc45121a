"""Tokens of machines: a workload that proves itself gets a short one, bound to its key where it can.

For what gateways guard it is random, and gateways hear of it in the feed: each use of it is decided, its
streams are leashed, and it ends like a person's session. For an API of the bundle (a client with an
`audience`) it is a JWT that lives minutes, and policy decides its issue as `sign_in` on that client.

Laws:
    T1 alive. Nobody gets a token who is suspended, quarantined, expired or removed at that instant.
    T2 bound. Whoever shows a key (DPoP) or a certificate gets a token that only its holder can use.
    T3 decided. A token for an API is issued only if policy permits it, and that is recorded before.

Source: RFC 6749 section 4.4, RFC 8693 section 2, RFC 8705 section 3, RFC 9068, RFC 9449 section 5.
"""

import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import msgspec

from limen.administrator.authority import ISSUE_POINT, Authority
from limen.administrator.desk import Desk
from limen.administrator.ledger import Entry
from limen.administrator.oauth import exchange
from limen.administrator.oauth.machine_answers import actor_of, answer_of, claims_of, session_of
from limen.administrator.oauth.machine_proofs import MachineProofs, Proven
from limen.administrator.oauth.machine_targets import Target, parse_target
from limen.administrator.oauth.values import Grant, OAuthRefused, TokenRequest
from limen.administrator.replica import machine_facts
from limen.administrator.signing_keys import SigningKeys
from limen.administrator.workloads import Failures
from limen.core.entities import Status
from limen.core.errors import Unavailable
from limen.core.ids import EntityRef, Instant, TokenHash
from limen.core.tokens import mint_token
from limen.information.identity import dpop
from limen.information.identity.jwks import TokenInvalid
from limen.store import machines
from limen.store.spent import spend_once
from limen.store.workloads import find_workload

CLIENT_CREDENTIALS = "client_credentials"
API_TOKEN_S = 300.0  # an API believes a JWT until it expires, whatever happens here
NOTED_EVERY_S = 60.0  # the operator hears of one workload's refusals no more often
RETRY_AFTER_S = 5


class Machines:
    """Answers the grants of machines. Threads may share it.

    Args:
        transport: how issuers are spoken to; None is the network.
    """

    def __init__(
        self,
        desk: Desk,
        authority: Authority,
        signing: SigningKeys,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._desk = desk
        self._authority = authority
        self._signing = signing
        self._proofs = MachineProofs(desk, self._spend)
        self._exchange = exchange.Exchange(desk, transport)
        self._failures = Failures(desk.clock)
        self._noted: dict[tuple[str, str], Instant] = {}
        self._lock = threading.Lock()

    def grants(self) -> Mapping[str, Grant]:
        """Return what answers each `grant_type` of machines."""
        return {CLIENT_CREDENTIALS: self.client_credentials, exchange.GRANT: self.exchange}

    def metadata(self) -> Mapping[str, Any]:
        """Return what discovery says, where machines show certificates (RFC 8705 sections 2.1.1 and 5)."""
        port = self._desk.catalogue().sources.machines.port
        if port is None:
            return {}
        token = f"https://{self._desk.catalogue().auth_host}:{port}/oauth2/token"
        methods = ["none", "client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth"]
        return {
            "token_endpoint_auth_methods_supported": methods,
            "tls_client_certificate_bound_access_tokens": True,
            "mtls_endpoint_aliases": {"token_endpoint": token},
        }

    def client_credentials(self, request: TokenRequest) -> Mapping[str, Any]:
        """Give a token to a workload that proves itself (RFC 6749 section 4.4)."""
        proven = self._identify(self._proofs.identify, request, "invalid_client", 401)
        return self._issue(proven, request)

    def exchange(self, request: TokenRequest) -> Mapping[str, Any]:
        """Give a token for one of an issuer that the bundle trusts (RFC 8693)."""
        proven = self._identify(self._exchange.identify, request, "invalid_grant", 400)
        answer = dict(self._issue(proven, request))
        return {**answer, "issued_token_type": exchange.ACCESS_TOKEN}

    # --- who asks ----------------------------------------------------------------------------------

    def _identify(
        self, identify: Callable[[TokenRequest], Proven], request: TokenRequest, error: str, status: int
    ) -> Proven:
        try:
            return identify(request)
        except TokenInvalid as wrong:
            raise self._refuse(request, wrong.message, error, status) from None
        except Unavailable as away:
            self._note("", away.message, request)
            raise OAuthRefused(
                "temporarily_unavailable",
                "This cannot be answered now.",
                status=503,
                headers={"retry-after": str(RETRY_AFTER_S)},
            ) from None

    def _refuse(
        self, request: TokenRequest, why: str, error: str, status: int, workload: str = ""
    ) -> OAuthRefused:
        """Return the one answer of all reasons, and tell the operator which it was."""
        self._note(workload or self._named(request), why, request)
        wait_s = self._failures.charge(request.ip or "0.0.0.0")  # noqa: S104 - counted, and not listened on
        if wait_s:
            return OAuthRefused(
                error, "Too many requests were refused.", status=429, headers={"retry-after": f"{wait_s:.0f}"}
            )
        headers = {"www-authenticate": 'Basic realm="limen"'} if request.authorization else {}
        return OAuthRefused(error, "The workload is not proven.", status=status, headers=headers)

    def _named(self, request: TokenRequest) -> str:
        """Return the workload that a request names, if there is one: no stranger's words in the journal."""
        name = request.form.get("client_id", "")[:64]
        with self._desk.ledger.store.read() as connection:
            return name if name and find_workload(connection, name) is not None else ""

    def _note(self, workload: str, why: str, request: TokenRequest) -> None:
        now = self._desk.clock.now()
        with self._lock:
            if now - self._noted.get((workload, why), -NOTED_EVERY_S) < NOTED_EVERY_S:
                return
            if len(self._noted) > 1_000:
                self._noted.clear()
            self._noted[workload, why] = now
        self._desk.ledger.tell(
            "workload.not_proven",
            actor=f"workload:{workload}" if workload else "nobody",
            reason="a request for a token",
            target=workload,
            ip=request.ip,
            why=why,
        )

    # --- what it gets ------------------------------------------------------------------------------

    def _issue(self, proven: Proven, request: TokenRequest) -> Mapping[str, Any]:
        target = parse_target(request.form, self._desk.catalogue())
        jkt = self._key(request)
        life_s = self._desk.catalogue().sources.machines.access_s
        if target.api is not None:
            return self._issue_jwt(proven, request, target, jkt)
        with self._desk.ledger.entry(actor_of(proven), f"a token by {proven.method}", ip=request.ip) as entry:
            owner, ends_at = self._demand_alive(entry, proven.workload)
            token, hashed = mint_token(self._desk.key, entry.tx.next_seq())
            now = entry.tx.now
            until = now + life_s if ends_at is None else min(now + life_s, ends_at)
            row = session_of(
                proven, request, hashed=hashed, apps=target.apps, jkt=jkt, starts_at=now, until=until
            )
            alive = until > now
            if alive:
                machines.add_session(entry.tx, row)
                self._note_use(entry, proven)
                entry.note(
                    "workload.token_issued",
                    target=proven.workload,
                    owner=owner,
                    methods=list(row.methods),
                    apps=list(row.apps),
                    expires_at=row.expires_at,
                )
        if not alive:
            raise self._refuse(
                request, "it may not act: see its status", "invalid_grant", 400, proven.workload
            )
        return answer_of(token.reveal(), row.expires_at - row.started_at, jkt)

    def _issue_jwt(
        self, proven: Proven, request: TokenRequest, target: Target, jkt: str
    ) -> Mapping[str, Any]:
        """Give a token for an API, if policy permits it (law T3)."""
        api, now = target.api, self._desk.clock.now()
        assert api is not None, "the caller has looked"
        jti = secrets.token_urlsafe(16)
        hashed = TokenHash(jti)
        row = session_of(
            proven, request, hashed=hashed, apps=(), jkt=jkt, starts_at=now, until=now + API_TOKEN_S
        )
        facts = machine_facts(row.render_fact())
        subject = EntityRef("Workload", proven.workload)
        answer = self._authority.decide(
            subject, "sign_in", api.ref, session=facts, point=ISSUE_POINT, path="/oauth2/token", ip=request.ip
        )
        if not answer.decision.allowed:
            raise OAuthRefused(
                "access_denied",
                f"Policy denies this token (decision {answer.request.id}).",
                status=403,
            )
        with self._desk.ledger.entry(actor_of(proven), f"a token by {proven.method}", ip=request.ip) as entry:
            _, ends_at = self._demand_alive(entry, proven.workload)
            ends = [one for one in (ends_at, answer.decision.deadline_at) if one is not None]
            row = msgspec.structs.replace(row, expires_at=min(row.expires_at, *ends))
            alive = row.expires_at > entry.tx.now
            if alive:
                self._note_use(entry, proven)
        if not alive:
            raise self._refuse(
                request, "it may not act: see its status", "invalid_grant", 400, proven.workload
            )
        claims = claims_of(self._desk.auth_origin, api.audience or "", row, jti)
        return answer_of(self._signing.sign(claims, typ="at+jwt"), row.expires_at - now, jkt)

    def _demand_alive(self, entry: Entry, name: str) -> tuple[str, Instant | None]:
        """Return a workload's owner, and when it ends; the past for one that may not act now (law T1)."""
        found = find_workload(entry.tx.connection, name)
        if found is None:
            return "", Instant(0)
        if found.status is not Status.ACTIVE or found.quarantined:
            return found.owner, Instant(0)
        return found.owner, found.expires_at

    def _note_use(self, entry: Entry, proven: Proven) -> None:
        connection, now = entry.tx.connection, entry.tx.now
        machines.note_workloads_used(connection, {proven.workload: now})
        if proven.credential:
            machines.note_credential_use(connection, proven.credential, now)

    def _key(self, request: TokenRequest) -> str:
        """Return the thumbprint of the key that the token is to be bound to; empty for none (law T2)."""
        if not request.dpop:
            return ""
        try:
            return dpop.verify_proof(
                request.dpop,
                request.method,
                self._address(request),
                now=self._desk.clock.now(),
                spend=self._spend,
            )
        except TokenInvalid as error:
            raise OAuthRefused("invalid_dpop_proof", f"The proof is not good: {error.message}.") from None

    def _address(self, request: TokenRequest) -> str:
        """Return the address that a client called: with a certificate it was the port for machines."""
        aliases = self.metadata().get("mtls_endpoint_aliases", {})
        return str(aliases.get("token_endpoint", request.url)) if request.x5t else request.url

    def _spend(self, kind: str, value: str, expires_at: Instant) -> bool:
        with self._desk.ledger.store.transaction("limen", f"use a {kind.partition(':')[0]} once") as tx:
            return spend_once(tx.connection, kind, value, expires_at)
