"""Logout tokens, posted to clients until they take them (OpenID Connect Back-Channel Logout 1.0).

Laws:
    J1 durable. A notice is stored with the end that it tells of, and leaves only when it was taken or when
       nobody took it for `GIVE_UP_S`.
    J2 one at a time. Of several control nodes one makes an attempt: taking it and the time of the next one
       are one write.
"""

from concurrent.futures import ThreadPoolExecutor

import httpx

from limen.administrator.oauth.claims import logout_claims
from limen.administrator.oauth.issuing import Issuing
from limen.core.client_config import OidcClient
from limen.core.errors import LimenError
from limen.core.ids import Instant, new_id
from limen.information.identity.provider_http import ProviderHttp
from limen.store import oauth as rows
from limen.store.oauth import LogoutNotice

LOGOUT_TYPE = "logout+jwt"
BATCH = 32
AT_ONCE = 8  # one client that does not answer keeps no other from hearing
PAUSES_S = (1.0, 5.0, 30.0, 120.0, 600.0, 3_600.0)
"""After each attempt that failed; the last one again and again."""

GIVE_UP_S = 86_400.0  # tokens are over long before; a client that is away for a day has restarted
TIMEOUT_S = 5.0


class BackChannel:
    """Tells clients. Off the event loop: it waits for them.

    Args:
        transport: how clients are spoken to; None is the network.
    """

    def __init__(self, issuing: Issuing, transport: httpx.BaseTransport | None = None) -> None:
        self._issuing = issuing
        self._transport = transport

    def tell(self) -> int:
        """Make the attempts that are due; return how many clients took their token."""
        store, now = self._issuing.desk.ledger.store, self._issuing.desk.clock.now()
        with store.read() as connection:
            due = rows.list_due(connection, now, BATCH)
        if not due:
            return 0
        with ThreadPoolExecutor(min(AT_ONCE, len(due)), thread_name_prefix="logout") as pool:
            return sum(pool.map(self._attempt, due))

    def next_at(self) -> Instant | None:
        """Return when the next attempt is due."""
        with self._issuing.desk.ledger.store.read() as connection:
            return rows.next_due(connection)

    def _attempt(self, notice: LogoutNotice) -> bool:
        store = self._issuing.desk.ledger.store
        pause_s = PAUSES_S[min(notice.attempts, len(PAUSES_S) - 1)]
        with store.transaction("limen", f"tell {notice.client} of a logout") as tx:
            if not rows.claim_notice(tx, notice, tx.now + pause_s):
                return False
        client = self._issuing.desk.catalogue().clients.get(notice.client)
        oidc = client.oidc if client is not None else None
        if oidc is None or not oidc.backchannel_logout_uri:
            self._forget(notice, "the client is told no more")
            return False
        why = self._post(notice, oidc, oidc.backchannel_logout_uri)
        if not why:
            self._forget(notice, "")
            return True
        if self._issuing.desk.clock.now() - notice.created_at >= GIVE_UP_S:
            self._forget(notice, why)
        elif notice.attempts == 0:
            self._issuing.desk.ledger.tell(
                "client.logout_untold",
                actor="limen",
                reason="a logout token was not taken; it is tried again",
                target=notice.client,
                person=notice.person,
                why=why,
            )
        return False

    def _post(self, notice: LogoutNotice, oidc: OidcClient, url: str) -> str:
        """Post a fresh token; return why it was not taken, empty when it was."""
        issuing, now = self._issuing, self._issuing.desk.clock.now()
        claims = logout_claims(
            issuing.issuer, notice.client, notice.person, notice.sid, now=now, jti=new_id("lgt")
        )
        http = ProviderHttp(notice.client, oidc.ca_pem, self._transport)
        try:
            http.require_tls(url)
            token = issuing.signing.sign(claims, typ=LOGOUT_TYPE, alg=oidc.signing)
            with httpx.Client(**{**http.options(), "timeout": TIMEOUT_S}) as sender:
                answer = sender.post(url, data={"logout_token": token})
        except LimenError as error:
            return error.message
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return type(error).__name__
        return "" if answer.is_success else f"status {answer.status_code}"

    def _forget(self, notice: LogoutNotice, why: str) -> None:
        with self._issuing.desk.ledger.entry("limen", "a logout was told") as entry:
            rows.remove_notice(entry.tx, notice.id)
            if why:
                entry.note("client.logout_given_up", target=notice.client, person=notice.person, why=why)
