"""Signing out with the clients: asked for by one of them, and told to all of them in the browser.

Law:
    O2 no redirect that is not registered: after signing out a browser goes on to an address of the client
       that the request proves by an ID token, or names; to nothing else.

Source: OpenID Connect RP-Initiated Logout 1.0, Front-Channel Logout 1.0.
"""

from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

import msgspec

from limen.administrator.oauth.issuing import Issuing
from limen.administrator.oauth.request import STATE_MAX
from limen.core.client_config import ClientConfig
from limen.information.identity.jwks import TokenInvalid
from limen.store import oauth as rows
from limen.store.sessions import Session

ID_TOKEN_TYPE = "JWT"  # noqa: S105 - of the header


class LogoutRequest(msgspec.Struct, frozen=True):
    """A request to sign out, understood as far as it can be.

    Attributes:
        client: whose, by its ID token or by its own word.
        sid, person: what its ID token says; empty without one.
        go_on: where the browser goes afterwards; empty for nowhere.
    """

    client: ClientConfig | None = None
    sid: str = ""
    person: str = ""
    go_on: str = ""


class Logout:
    """Understands requests to sign out. Threads may share it."""

    def __init__(self, issuing: Issuing) -> None:
        self._issuing = issuing

    def parse(self, query: Mapping[str, str]) -> LogoutRequest:
        """Return what is asked for; whatever does not hold is as if it had not been sent."""
        claims = self._hint(query.get("id_token_hint", ""))
        named = query.get("client_id", "")
        aud = str(claims.get("aud", named))
        if named and aud != named:
            return LogoutRequest()
        client = self._issuing.desk.catalogue().clients.get(aud)
        if client is None or client.oidc is None:
            return LogoutRequest()
        target, state = query.get("post_logout_redirect_uri", ""), query.get("state", "")
        go_on = ""
        if target and target in client.oidc.post_logout_redirect_uris:
            fits = state and len(state) <= STATE_MAX and state.isprintable()
            go_on = with_query(target, {"state": state}) if fits else target
        return LogoutRequest(client, str(claims.get("sid", "")), str(claims.get("sub", "")), go_on)

    def is_of(self, request: LogoutRequest, session: Session) -> bool:
        """Say whether the ID token of a request is of this very session: then nobody needs to be asked."""
        if request.client is None or not request.sid or request.person != session.person:
            return False
        return request.sid == self._issuing.sid(session.id, request.client.name)

    def frames(self, session: Session) -> tuple[str, ...]:
        """Return the addresses that a browser loads so that its clients hear of the end of a session."""
        with self._issuing.desk.ledger.store.read() as connection:
            found = rows.list_of_session(connection, session.id)
        clients = self._issuing.desk.catalogue().clients
        urls = {}
        for one in found:
            client = clients.get(one.client)
            uri = client.oidc.frontchannel_logout_uri if client is not None and client.oidc else None
            if uri is not None:
                urls[one.client] = with_query(uri, {"iss": self._issuing.issuer, "sid": one.sid})
        return tuple(urls.values())

    def _hint(self, token: str) -> Mapping[str, object]:
        """Return the claims of an ID token of ours, however old (RP-Initiated Logout section 2)."""
        if not token:
            return {}
        try:
            claims = self._issuing.signing.verify(token, typ=ID_TOKEN_TYPE)
        except TokenInvalid:
            return {}
        return claims if claims.get("iss") == self._issuing.issuer and "events" not in claims else {}


def with_query(url: str, values: Mapping[str, str]) -> str:
    """Return an address with more in its query."""
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(values)}"


def origin_of(url: str) -> str:
    """Return what a page's policy names for a frame of `url`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
