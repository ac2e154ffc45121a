"""The accounts that somebody has elsewhere, and ways in by them: linked and unlinked by the person themself.

Laws:
    U2 only a source's own stable id links (`admission`).
    U8 whoever changes ways in has just signed in, as strongly as they can; and a provider of partners is not
       linked to an employee: it could then sign in as them.
    U9 the last way in stays.
"""

from limen.administrator.desk import Desk
from limen.administrator.ledger import Entry
from limen.administrator.session_life import SessionEvent
from limen.administrator.step_up import Need, is_met
from limen.core.errors import Conflict, NotFound, Refused
from limen.core.roles import BREAK_GLASS_METHOD
from limen.store import credentials as keys
from limen.store import directory, identities
from limen.store.identities import ExternalIdentity
from limen.store.sessions import Session


class UpstreamLinks:
    """Somebody's accounts elsewhere."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def mine(self, session: Session) -> tuple[ExternalIdentity, ...]:
        """Return the links of whoever is signed in."""
        with self._desk.ledger.store.read() as connection:
            return identities.list_identities(connection, session.person)

    def linkable(self, session: Session) -> tuple[str, ...]:
        """Return the names of OpenID providers whose accounts this person may link."""
        if BREAK_GLASS_METHOD in session.methods:  # its hour would have no end
            return ()
        linked = {one.source for one in self.mine(session)}
        with self._desk.ledger.store.read() as connection:
            kind = directory.get_person(connection, session.person).kind
        return tuple(
            config.name
            for config in self._desk.catalogue().oidc
            if config.source not in linked and config.people.kind is kind
        )

    def lacks(self, session: Session) -> Need | None:
        """Return what the session must achieve first (law U8)."""
        with self._desk.ledger.store.read() as connection:
            owner = keys.load_credentials(connection, session.person)
        strong = (Need("second-factor"),) if owner is not None and owner.second_factors else ()
        now = self._desk.clock.now()
        return next(
            (need for need in (*strong, Need("fresh-sign-in")) if not is_met(need, session, now)), None
        )

    def require(self, session: Session, provider: str) -> None:
        """Check that this session may begin to link an account of a provider (law U8).

        Raises:
            Refused: it lacks something.
            NotFound: it is no provider whose accounts this person may link.
        """
        self._require_fresh(session)
        if provider not in self.linkable(session):
            raise NotFound("This provider's accounts cannot be linked to yours.", remedy="Reload the page.")

    def unlink(self, session: Session, source: str, subject: str) -> None:
        """Remove a link; sessions that came through it end.

        Raises:
            Refused: the session lacks something.
            NotFound: it is not one of this person's.
            Conflict: it is their last way in (law U9).
        """
        self._require_fresh(session)
        person = session.person
        with self._desk.ledger.entry(person, f"unlink {source}", ip=session.ip) as entry:
            if identities.find_owner(entry.tx.connection, source, subject) != person:
                raise NotFound("This account is not linked to yours.", remedy="Reload the page.")
            identities.unlink_identity(entry.tx, source, subject)
            self._require_way_in(entry, person)
            entry.note("identity.unlinked", target=person, source=source)
            self._withdraw(entry, person, source)
            for one in identities.find_upstream(entry.tx.connection, source, subject=subject):
                self._desk.sessions.end_in(
                    entry, one.session, SessionEvent.SIGN_OUT, f"its account of {source} was unlinked"
                )

    def _withdraw(self, entry: Entry, person: str, source: str) -> None:
        """Take back the groups that an account gave, when it was the last one of its provider."""
        left = identities.list_identities(entry.tx.connection, person)
        if all(one.source != source for one in left):
            directory.sync_memberships(entry.tx, person, source, ())
            entry.note("identity.groups_withdrawn", target=person, source=source)

    def _require_fresh(self, session: Session) -> None:
        if BREAK_GLASS_METHOD in session.methods:
            raise Refused(
                "Emergency access makes no other way in.", remedy="Sign in as yourself.", code="BREAK_GLASS"
            )
        if self.lacks(session) is not None:
            raise Refused("This needs a fresh sign-in.", remedy="Sign in again.", code="STEP_UP_NEEDED")

    def _require_way_in(self, entry: Entry, person: str) -> None:
        owner = keys.load_credentials(entry.tx.connection, person)
        local = owner is not None and (owner.password_hash is not None or owner.passkeys > 0)
        if not local and not _signs_in(identities.list_identities(entry.tx.connection, person)):
            raise Conflict("This is your last way in.", remedy="Add another one first.", code="LAST_WAY_IN")


def _signs_in(links: tuple[ExternalIdentity, ...]) -> bool:
    return any(one.source.startswith(("oidc:", "saml:")) for one in links)
