"""The device flow of clients of the bundle: a code on the device, a yes in the browser of a signed-in person.

The code, its page and its throttle are those of `limen login` (`administrator.connect`).

Source: RFC 8628.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from limen.administrator.connect import (
    DEVICE_CODE_S,
    DEVICE_GRANT,
    POLL_EVERY_S,
    ConnectDesk,
    OAuthError,
    claim_device,
    render_user_code,
)
from limen.administrator.oauth.grants import TOKEN_PATH
from limen.administrator.oauth.issuing import Issuing, Live
from limen.administrator.oauth.request import RequestRefused, parse_audiences, parse_scopes
from limen.administrator.oauth.tokens import Tokens
from limen.administrator.oauth.values import Grant, OAuthRefused, TokenRequest
from limen.core.tokens import token_hash
from limen.store import oauth as rows
from limen.store.devices import find_device

GRANT_NAME = "device_code"  # in `grants` of the bundle


class Asked(msgspec.Struct, frozen=True):
    """What a client asked for when it began."""

    scopes: tuple[str, ...]
    audiences: tuple[str, ...] = ()


class DeviceFlow:
    """Begins and ends device flows. Threads may share it."""

    def __init__(self, issuing: Issuing, tokens: Tokens, connect: ConnectDesk) -> None:
        self._issuing = issuing
        self._tokens = tokens
        self._connect = connect

    def grants(self) -> Mapping[str, Grant]:
        """Return the grant by its `grant_type`."""
        return {DEVICE_GRANT: self.poll}

    def start(self, request: TokenRequest) -> Mapping[str, Any]:
        """Begin (RFC 8628 section 3.1).

        Raises:
            OAuthRefused: the client is not proven, or may not.
        """
        client = self._issuing.clients.identify(request)
        if GRANT_NAME not in client.oidc.grants:
            raise OAuthRefused("unauthorized_client", f"This client may not use {GRANT_NAME}.")
        resource = request.form.get("resource")
        try:
            scopes = parse_scopes(request.form.get("scope", "openid"), client.oidc)
            resources = (resource,) if resource is not None else ()
            audiences = parse_audiences(resources, client.oidc, self._issuing.desk.catalogue())
        except RequestRefused as error:
            raise OAuthRefused(error.error, error.message) from None
        try:
            started = self._connect.start_device(
                client.config.title or client.name,
                request.ip,
                client_id=client.name,
                asked=msgspec.to_builtins(Asked(scopes, audiences)),
            )
        except OAuthError as error:
            raise OAuthRefused(error.code, error.message) from None
        shown, page = render_user_code(started.user_code), f"{self._issuing.issuer}/device"
        return {
            "device_code": started.device_code.reveal(),
            "user_code": shown,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={shown}",
            "expires_in": int(DEVICE_CODE_S),
            "interval": POLL_EVERY_S,
        }

    def poll(self, request: TokenRequest) -> Mapping[str, Any]:
        """Give tokens once the person has said yes, and policy does (RFC 8628 sections 3.4, 3.5).

        Raises:
            OAuthRefused: not yet, never, or asked too often.
        """
        issuing = self._issuing
        client = issuing.clients.identify(request)
        if GRANT_NAME not in client.oidc.grants:
            raise OAuthRefused("unauthorized_client", f"This client may not use {GRANT_NAME}.")
        code = request.form.get("device_code", "")
        with issuing.desk.ledger.store.read() as connection:
            if find_device(connection, token_hash(code)) is None:  # before anything is stored of a stranger's
                raise OAuthRefused("expired_token", "The device flow says expired_token.")
        jkt = issuing.clients.prove_key(client, request)
        with issuing.desk.ledger.entry("limen", "poll of a device flow", ip=request.ip) as entry:
            failure, found = claim_device(entry, code, client.name)
        if found is None or found.session is None:
            raise OAuthRefused(failure, f"The device flow says {failure}.")
        asked = msgspec.convert(found.asked or {}, Asked)
        with issuing.desk.ledger.store.read() as connection:
            session = issuing.desk.sessions.load_live(connection, found.session)
        if session is None:
            raise OAuthRefused("access_denied", "The session that approved it is over.")
        wanted = (client.config, *issuing.audiences(asked.audiences))
        answer = issuing.decide(session, wanted, ip=session.ip, path=TOKEN_PATH)
        if not answer.decision.allowed:
            raise OAuthRefused("access_denied", "This person may not sign in here.")
        self._tokens.ready(session.person, client)
        with issuing.desk.ledger.entry(session.person, f"tokens for {client.name}", ip=request.ip) as entry:
            current = issuing.desk.sessions.load_live(entry.tx.connection, session.id)
            if current is None:
                raise OAuthRefused("access_denied", "The session that approved it is over.")
            begun = issuing.begin(entry, current, client.name, scopes=asked.scopes, audiences=asked.audiences)
            bound = jkt if client.public else ""
            rows.mark_redeemed(entry.tx, begun.id, bound)
            live = Live(msgspec.structs.replace(begun, jkt=bound), current, client.config)
            entry.note("client.signed_in", target=client.name, person=session.person)
            drawn = self._tokens.draw(
                entry,
                live,
                client,
                jkt=jkt,
                scopes=asked.scopes,
                audiences=asked.audiences,
                until=answer.decision.deadline_at,
            )
        return self._tokens.render(live, client, drawn)
