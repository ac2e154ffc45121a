"""SCIM clients: their tokens made, rotated and recognised; people handed over to them.

Which clients there are, and what their people become, the bundle says; a client that it does not name is
nobody, whatever tokens it has.

Laws:
    K1, K2, K3 of `administrator.workloads` hold here too: rubbish never reaches the database, a revoked or
    expired token is refused at the next call, and a token is told once.
    V1 rotation has no gap: the new token counts before the old ones end.
"""

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from limen.administrator.desk import Desk
from limen.administrator.ledger import Entry
from limen.administrator.workloads import REFUSAL_NOTED_EVERY_S, USE_NOTED_EVERY_S, Failures, TokenRefused
from limen.core.entities import Status
from limen.core.errors import NotFound, Refused, Unavailable
from limen.core.identity_config import ScimConfig
from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.core.tokens import mint_marked, verify_marked
from limen.store import directory, scim_tokens
from limen.store import scim as rows
from limen.store.scim import USER, ScimResource
from limen.store.scim_tokens import ScimToken

PREFIX = "limen_scim_"
"""By which scanners for leaked secrets know a SCIM client's token."""

USER_URN = "urn:ietf:params:scim:schemas:core:2.0:User"
KEPT_S = 30 * 86_400.0  # how long a token that is over is still shown


class ScimClients:
    """The administration of SCIM clients. Threads may share it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._failures = Failures(desk.clock)
        self._refusal_noted_at = 0.0

    # --- what there is ---------------------------------------------------------------------------------

    def config(self, name: str) -> ScimConfig:
        """Return what the bundle says of a client.

        Raises:
            NotFound: it says nothing.
        """
        for one in self._desk.catalogue().sources.scim:
            if one.name == name:
                return one
        raise NotFound(
            f"client: the bundle has no SCIM client {name[:80]!r}.", remedy="Add it to `scim:` of limen.yaml."
        )

    def overview(self) -> list[dict[str, Any]]:
        """Return every client of the bundle, and those that it has no more but that left something here."""
        configs = {one.name: one for one in self._desk.catalogue().sources.scim}
        with self._desk.ledger.store.read() as connection:
            counts = rows.count_clients(connection)
            tokens = scim_tokens.list_tokens(connection)
        names = sorted({*configs, *counts, *(one.client for one in tokens)})
        empty: Mapping[str, Any] = {"people": 0, "groups": 0, "written_at": None}
        return [
            {
                "id": name,
                "configured": name in configs,
                **counts.get(name, empty),
                "tokens": [msgspec.to_builtins(one) for one in tokens if one.client == name],
                "used_at": max((one.used_at or 0.0 for one in tokens if one.client == name), default=0.0)
                or None,
            }
            for name in names
        ]

    # --- tokens ----------------------------------------------------------------------------------------

    def issue(
        self, name: str, *, label: str, life_s: float, actor: str, reason: str
    ) -> tuple[Secret[str], ScimToken]:
        """Make a token of a client (law K3)."""
        self.config(name)
        with self._desk.ledger.entry(actor, reason) as entry:
            return self._issue(entry, name, label, life_s)

    def rotate(
        self, name: str, *, label: str, life_s: float, overlap_s: float, actor: str, reason: str
    ) -> tuple[Secret[str], ScimToken, tuple[str, ...]]:
        """Make a token, and let the client's others end after an overlap (law V1); return their ids too."""
        self.config(name)
        with self._desk.ledger.entry(actor, reason) as entry:
            if overlap_s <= 0:
                for one in scim_tokens.list_tokens(entry.tx.connection, name):
                    self._revoke(entry, one.id)
            token, made = self._issue(entry, name, label, life_s)
            until = entry.tx.now + overlap_s
            shortened = scim_tokens.shorten_tokens(entry.tx, name, until, but=made.id)
            if shortened:
                entry.note(
                    "scim.tokens_shortened", target=f"scim:{name}", tokens=list(shortened), until=until
                )
        return token, made, shortened

    def revoke(self, token_id: str, *, actor: str, reason: str) -> ScimToken:
        """End a token now."""
        with self._desk.ledger.entry(actor, reason) as entry:
            return self._revoke(entry, token_id)

    def authenticate(self, text: str, ip: str) -> ScimConfig:
        """Return the client that a token proves.

        Raises:
            TokenRefused: it proves none. One answer for every reason: the cause is in the event.
        """
        hashed = verify_marked(self._desk.key, PREFIX, text)
        if hashed is None:
            raise self._refused(ip)
        with self._desk.ledger.store.read() as connection:
            found = scim_tokens.find_token(connection, hashed)
        if found is None:
            self._note_refusal("", "the token was revoked", ip)
            raise self._refused(ip)
        now = self._desk.clock.now()
        if now >= found.expires_at:
            self._note_refusal(found.client, f"the token {found.id} has expired", ip)
            raise self._refused(ip)
        try:
            config = self.config(found.client)
        except NotFound:
            self._note_refusal(found.client, "the bundle has this client no more", ip)
            raise self._refused(ip) from None
        if found.used_at is None or now - found.used_at >= USE_NOTED_EVERY_S:
            self._note_use(found, now)
        return config

    def sweep(self) -> None:
        """Forget tokens that have been over for a month."""
        with self._desk.ledger.store.transaction("limen", "sweep SCIM tokens") as tx:
            scim_tokens.purge_tokens(tx.connection, tx.now - KEPT_S)

    # --- handing over ----------------------------------------------------------------------------------

    def adopt(self, name: str, people: Sequence[str], *, actor: str, reason: str) -> list[str]:
        """Hand people over to a client: from now on it finds them by `userName`, and keeps them.

        Raises:
            NotFound: no such client or person.
            Refused: somebody has ended, or another source keeps them.
        """
        self.config(name)
        source = f"scim:{name}"
        with self._desk.ledger.entry(actor, reason) as entry:
            for username in people:
                person = directory.get_person(entry.tx.connection, username)
                if person.status is Status.ENDED:
                    raise Refused(f"{username} has ended.", remedy="Leave them out.")
                if rows.find_by_target(entry.tx.connection, USER, username):
                    raise Refused(
                        f"{username} is kept by a SCIM client already.", remedy="See `limen user show`."
                    )
                directory.update_person(entry.tx, username, source=source)
                rows.add_resource(entry.tx, *_adopted(entry, name, person))
                entry.note("scim.adopted", target=username, client=name, before={"source": person.source})
        return list(people)

    # --- inside ----------------------------------------------------------------------------------------

    def _issue(self, entry: Entry, name: str, label: str, life_s: float) -> tuple[Secret[str], ScimToken]:
        token, hashed = mint_marked(self._desk.key, PREFIX)
        made = scim_tokens.add_token(entry.tx, name, hashed, label=label, life_s=life_s)
        about = {"token": made.id, "name": made.name, "expires_at": made.expires_at}
        entry.note("scim.token_made", target=f"scim:{name}", **about)
        return token, made

    def _revoke(self, entry: Entry, token_id: str) -> ScimToken:
        gone = scim_tokens.revoke_token(entry.tx, token_id)
        entry.note("scim.token_revoked", target=f"scim:{gone.client}", token=gone.id)
        return gone

    def _refused(self, ip: str) -> TokenRefused:
        wait_s = self._failures.charge(ip)
        refused = TokenRefused(
            "This is not a token of a SCIM client.", remedy="Make one: `limen scim token NAME`."
        )
        refused.wait_s = wait_s
        return refused

    def _note_use(self, token: ScimToken, now: Instant) -> None:
        store = self._desk.ledger.store
        with contextlib.suppress(Unavailable), store.transaction("limen", "token used") as tx:
            scim_tokens.note_use(tx.connection, token.id, now)

    def _note_refusal(self, client: str, why: str, ip: str) -> None:
        """Record, at most once a minute, that somebody uses a token that counts no more."""
        now = self._desk.clock.now()
        if now - self._refusal_noted_at < REFUSAL_NOTED_EVERY_S:
            return
        self._refusal_noted_at = now
        who = f"scim:{client}" if client else "limen"
        self._desk.ledger.tell("scim.token_refused", actor=who, reason=why, target=who, ip=ip, why=why)


def _adopted(
    entry: Entry, client: str, person: directory.Person
) -> tuple[ScimResource, list[tuple[str, str]]]:
    active = person.status is Status.ACTIVE
    document: dict[str, Any] = {
        "schemas": [USER_URN],
        "userName": person.id,
        "displayName": person.name,
        "active": active,
    }
    values = [("display", person.name.lower())]
    if person.email:
        document["emails"] = [{"value": person.email, "type": "work", "primary": True}]
        values.append(("email", person.email.lower()))
    now = entry.tx.now
    row = ScimResource(
        id=secrets.token_hex(16),
        client=client,
        kind=USER,
        target=person.id,
        user_name=person.id,
        external_id=None,
        display=person.name,
        owned=False,
        locked=False,
        version=1,
        created_at=now,
        modified_at=now,
        document=msgspec.json.encode(document).decode(),
    )
    return row, values
