"""Sessions that end because of their provider: it says that somebody signed out there, or it is gone.

Laws:
    U5 a provider ends only sessions that came through it, as it is configured now.
    U6 a logout token counts once, and only when it is the provider's own (Back-Channel Logout 1.0, 2.6).
    U7 nobody stays in by a provider that the bundle does not have any more, nor by its successor of the same
       name: a session names the issuer that it came from. What it gave, its groups, goes with it.
"""

from limen.administrator.desk import Desk
from limen.administrator.session_life import SessionEvent
from limen.administrator.session_values import TooMany, Visit
from limen.administrator.upstream import Upstream
from limen.administrator.upstream_groups import rules_of, settle_listed, withdraw_groups
from limen.core.catalogue import Catalogue
from limen.core.saml_metadata import parse_idp
from limen.information.identity import throttle
from limen.information.identity.oidc_tokens import LEEWAY_S, UpstreamRefused
from limen.store import identities
from limen.store.identities import UpstreamSession
from limen.store.spent import spend_once


class UpstreamLogout:
    """Ends sessions for providers."""

    def __init__(self, desk: Desk, upstream: Upstream) -> None:
        self._desk = desk
        self._upstream = upstream
        self._configured: frozenset[str] | None = None

    def backchannel(self, name: str, token: str, ip: str) -> int:
        """Take a logout token; return how many sessions it ended.

        Raises:
            NotFound: no such provider.
            UpstreamRefused: the token is not the provider's, or was used; the event has the cause.
            Unavailable: the provider's keys cannot be had.
        """
        provider = self._upstream.provider(name)
        source = provider.config.source
        reason = f"signed out at {source}"
        try:
            subject, sid, jti, expires_at = provider.logged_out(token, self._desk.clock.now())
        except UpstreamRefused as error:
            self._refuse(source, error.why, ip)
            raise
        with self._desk.ledger.entry("limen", reason, ip=ip) as entry:
            unused = spend_once(entry.tx.connection, f"logout:{source}", jti, expires_at + LEEWAY_S)
            if unused:
                found = identities.find_upstream(entry.tx.connection, source, subject=subject, sid=sid)
                ended = [
                    self._desk.sessions.end_in(entry, one.session, SessionEvent.SIGN_OUT, reason)
                    for one in found
                    if one.issuer in ("", provider.config.issuer)
                ]
                entry.note("identity.signed_out", source=source, sessions=sum(ended), channel="back")
                return sum(ended)
        self._refuse(source, "its logout token was used before", ip)
        raise UpstreamRefused("its logout token was used before")

    def frontchannel(self, name: str, issuer: str, sid: str, visit: Visit) -> int | TooMany:
        """Take a front-channel logout, asked for by a frame in some browser; return how many sessions ended.

        Nothing proves it but the provider's own name of the session, so that is demanded with the issuer.

        Raises:
            NotFound: no such provider.
        """
        config = self._upstream.provider(name).config
        desk, reason = self._desk, f"signed out at {config.source}"
        with desk.ledger.entry("limen", reason, ip=visit.browser.ip) as entry:
            wait_s = desk.charge(entry.tx.connection, throttle.address_charges(visit.browser.ip))
            if wait_s:
                return TooMany(wait_s)
            if not sid or issuer != config.issuer:
                return 0
            found = identities.find_upstream(entry.tx.connection, config.source, sid=sid)
            ended = sum(
                desk.sessions.end_in(entry, one.session, SessionEvent.SIGN_OUT, reason) for one in found
            )
            if ended:
                entry.note("identity.signed_out", source=config.source, sessions=ended, channel="front")
            return ended

    def sweep(self) -> int:
        """End sessions of providers that are gone (law U7), and make known what is listed now.

        Call it when the bundle has changed, and every half minute. Returns how many sessions ended.
        """
        catalogue = self._desk.catalogue()
        with self._desk.ledger.store.read() as connection:
            live = identities.list_live_upstream(connection)
        gone = [one for one in live if not is_configured(one, catalogue)]
        if gone:
            with self._desk.ledger.entry("limen", "its provider is not configured any more") as entry:
                for one in gone:
                    why = f"the provider {one.source} is not configured any more"
                    self._desk.sessions.end_in(entry, one.session, SessionEvent.REVOKE, why)
        settle_listed(self._desk.ledger, catalogue)
        configured = frozenset(rules_of(catalogue))
        if configured != self._configured:  # a scan of all memberships: only when it can find something
            withdraw_groups(self._desk.ledger, catalogue)
            self._configured = configured
        return len(gone)

    def _refuse(self, source: str, why: str, ip: str) -> None:
        with self._desk.ledger.entry("nobody", f"sign out at {source}", ip=ip) as entry:
            wait_s = self._desk.charge(entry.tx.connection, throttle.address_charges(ip))
            if not wait_s:  # strangers can send rubbish without end; the journal must not grow with it
                entry.note("identity.logout_refused", source=source, why=why)


def is_configured(one: UpstreamSession, catalogue: Catalogue) -> bool:
    """Say whether the provider that a session came from is still that one."""
    if one.source not in rules_of(catalogue):
        return False
    issuers = {config.source: config.issuer for config in catalogue.oidc}
    issuers |= {f"saml:{one.name}": parse_idp(one.metadata).entity_id for one in catalogue.sources.saml}
    return one.issuer in ("", issuers.get(one.source, one.issuer))
