"""Tokens of people at clients: what all that gives them, or takes them away, shares.

Laws:
    T1 below a session. A token is good while its authorization is, and that while its session is live.
    T2 decided. Nothing is given that `sign_in` on the client, and on each API that it is for, denies; each
       such decision is recorded before the answer leaves.
    T3 once. A code or refresh token that is used a second time ends its authorization with all its tokens.
    T4 told. When an authorization ends whose client has had tokens, the same transaction stores the notice
       that the client is owed.
    T5 no longer than its reason. No token lives beyond the instant at which its decision may be another: the
       end of a person, a grant or a time window that is known when it is given.
"""

import hmac
import ipaddress
import secrets
from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection

from limen.administrator.authority import ISSUE_POINT, LOOPBACK, Answer, Authority
from limen.administrator.desk import Desk
from limen.administrator.ledger import Entry
from limen.administrator.oauth.claims import Subject
from limen.administrator.oauth.clients import Clients
from limen.administrator.replica import Replica, session_facts
from limen.administrator.signing_keys import SigningKeys
from limen.core.changes import PersonFact
from limen.core.client_config import ClientConfig
from limen.core.entities import Closure
from limen.core.errors import Unavailable
from limen.core.ids import EntityRef, Instant, new_id
from limen.store import oauth as rows
from limen.store.oauth import Authorization, LogoutNotice
from limen.store.sessions import Session

SIGN_IN = "sign_in"
SID_LENGTH = 32


class Live(msgspec.Struct, frozen=True):
    """An authorization whose session is live and whose client is in the bundle."""

    authorization: Authorization
    session: Session
    client: ClientConfig


class Issuing:
    """Shared by the grants, the endpoints and re-assessment. Threads may share it."""

    def __init__(self, desk: Desk, authority: Authority, signing: SigningKeys, clients: Clients) -> None:
        self.desk = desk
        self.authority = authority
        self.signing = signing
        self.clients = clients

    @property
    def issuer(self) -> str:
        """Who we are to clients."""
        return self.desk.auth_origin

    # --- what there is -----------------------------------------------------------------------------

    def find_live(self, connection: Connection, authorization: str) -> Live | None:
        """Return an authorization that tokens may be of (law T1)."""
        found = rows.load_authorization(connection, authorization)
        if found is None or found.ended_at is not None or self.desk.clock.now() >= found.expires_at:
            return None
        session = self.desk.sessions.load_live(connection, found.session)
        client = self.desk.catalogue().clients.get(found.client)
        if session is None or client is None or client.oidc is None:
            return None
        return Live(found, session, client)

    def audiences(self, names: Iterable[str]) -> tuple[ClientConfig, ...]:
        """Return the APIs of these names that the bundle still has."""
        known = self.desk.catalogue().clients
        return tuple(known[name] for name in names if name in known and known[name].audience)

    def subject(self, username: str) -> Subject:
        """Return what may be told of a person.

        Raises:
            Unavailable: control's replica does not know them yet.
        """

        def look(replica: Replica) -> tuple[PersonFact | None, Closure | None]:
            return replica.person(username), replica.closure(EntityRef("User", username))

        person, closure = self.authority.ask(look)
        if person is None or closure is None:
            raise Unavailable("This person is not known here yet.", remedy="Try again.")
        groups = sorted(ref.id for ref in closure.ancestors if ref.type == "Group")
        return Subject(
            username=username,
            name=person.name,
            email=person.email,
            email_verified=bool(person.email),  # the organisation keeps the directory, and stands for it
            groups=tuple(groups),
            attributes=person.attributes,
        )

    def sid(self, session: str, client: str) -> str:
        """Return a session as one client knows it: the same each time, and another at each client."""
        bound = f"sid\0{session}\0{client}".encode()
        return hmac.digest(self.desk.key, bound, "sha256").hex()[:SID_LENGTH]

    # --- decisions (law T2) ------------------------------------------------------------------------

    def decide(
        self, session: Session, clients: Iterable[ClientConfig], *, ip: str = LOOPBACK, path: str = ""
    ) -> Answer:
        """Decide and record `sign_in` on each of `clients`; return the first denial, else the last answer.

        Its `deadline_at` is the earliest of all: nothing that is given for it lives longer (law T5).

        Raises:
            Unavailable: it could not be recorded, or no bundle is in force.
            NotFound: one is not in the bundle in force.
        """
        answer: Answer | None = None
        deadlines: list[Instant] = []
        facts = session_facts(session.render_fact())
        for client in clients:
            answer = self.authority.decide(
                EntityRef("User", session.person),
                SIGN_IN,
                client.ref,
                session=facts,
                point=ISSUE_POINT,
                path=path,
                ip=known_ip(ip),
            )
            if not answer.decision.allowed:
                return answer
            if answer.decision.deadline_at is not None:
                deadlines.append(answer.decision.deadline_at)
        assert answer is not None, "there is a client"
        decision = msgspec.structs.replace(answer.decision, deadline_at=min(deadlines, default=None))
        return msgspec.structs.replace(answer, decision=decision)

    # --- beginning and ending ----------------------------------------------------------------------

    def begin(
        self,
        entry: Entry,
        session: Session,
        client: str,
        *,
        scopes: tuple[str, ...],
        audiences: tuple[str, ...] = (),
        nonce: str = "",
    ) -> Authorization:
        """Begin an authorization below a session."""
        found = Authorization(
            id=new_id("aut"),
            client=client,
            session=session.id,
            person=session.person,
            sid=self.sid(session.id, client),
            scopes=scopes,
            audiences=audiences,
            nonce=nonce,
            jkt="",
            created_at=entry.tx.now,
            expires_at=session.expires_at,
        )
        rows.add_authorization(entry.tx, found)
        return found

    def end(self, entry: Entry, authorization: Authorization, why: str, *, tell: bool = True) -> bool:
        """End an authorization; return whether it had not ended before.

        Args:
            entry: in which.
            authorization: which.
            why: for the journal and for `limen client sessions`.
            tell: whether its client is owed a logout token (law T4); not when the client itself asked for it.
        """
        if not rows.end_authorization(entry.tx, authorization.id, why):
            return False
        current = rows.load_authorization(entry.tx.connection, authorization.id)
        if current is None or current.redeemed_at is None:
            return True
        client = self.desk.catalogue().clients.get(authorization.client)
        if tell and client is not None and client.oidc is not None and client.oidc.backchannel_logout_uri:
            about = (authorization.client, authorization.person, authorization.sid)
            rows.add_notice(entry.tx, LogoutNotice(new_id("lgo"), *about, entry.tx.now, entry.tx.now))
        entry.note("client.signed_out", target=authorization.client, person=authorization.person, why=why)
        return True

    def end_all(self, ended: Iterable[Authorization], *, actor: str, why: str) -> int:
        """End authorizations in one transaction; return how many."""
        found = tuple(ended)
        if not found:
            return 0
        with self.desk.ledger.entry(actor, why) as entry:
            return sum(self.end(entry, one, why) for one in found)


def known_ip(text: str) -> str:
    """Return an address that policies can read; where none is known, this machine's."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return LOOPBACK


def new_token(prefix: str = "") -> str:
    """Return a fresh random token."""
    return prefix + secrets.token_urlsafe(32)
