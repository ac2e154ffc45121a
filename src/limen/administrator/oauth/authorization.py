"""Codes: what a browser carries from a person's session to a client.

A code is random, good for a minute and once, and worth nothing without the verifier of its challenge.
"""

from limen.administrator.oauth.issuing import Issuing, new_token
from limen.administrator.oauth.request import AuthenticationRequest
from limen.core.client_config import ClientConfig
from limen.core.secret import Secret
from limen.core.tokens import token_hash
from limen.store import oauth as rows
from limen.store.oauth import CODE, OauthToken
from limen.store.sessions import Session

CODE_S = 60.0  # RFC 6749 section 4.1.2 allows ten minutes; a redirect takes seconds


class Authorizations:
    """Issues codes. Threads may share it."""

    def __init__(self, issuing: Issuing) -> None:
        self._issuing = issuing

    def wanted(self, request: AuthenticationRequest) -> tuple[ClientConfig, ...]:
        """Return what is decided about: the client, and the APIs that its tokens would be for."""
        return (request.to.client, *self._issuing.audiences(request.audiences))

    def issue_code(self, session: Session, request: AuthenticationRequest) -> Secret[str]:
        """Return a code for a sign-in that was decided."""
        code = new_token()
        name = request.to.client.name
        with self._issuing.desk.ledger.entry(session.person, f"sign in to {name}", ip=session.ip) as entry:
            begun = self._issuing.begin(
                entry,
                session,
                name,
                scopes=request.scopes,
                audiences=request.audiences,
                nonce=request.nonce,
            )
            data = {
                "redirect_uri": request.to.redirect_uri,
                "challenge": request.challenge,
                "jkt": request.jkt,
            }
            now = entry.tx.now
            rows.add_token(entry.tx, OauthToken(token_hash(code), CODE, begun.id, data, now, now + CODE_S))
        return Secret(code)
