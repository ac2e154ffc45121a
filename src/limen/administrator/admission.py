"""Letting in whoever a provider names: who that is here, what they become, and their session. Any protocol.

Laws:
    U1 a link counts for the issuer that it was made with (`store.identities`).
    U2 only a source's own stable id links: `(source, subject)`, or the id under which the source that the
       bundle names lists the same person. A username, a name or an e-mail address never does.
    U3 one answer. Whatever the reason, a stranger is told the same; the reason is in `sign_in.failed`.
    U4 unknown groups are unknown: a provider that did not list them leaves the person denied, until who does
       list them has.
    U10 its own people alone. A provider gives only addresses of its domains, none of a domain that another
       provider has; one of partners or contractors gives none that somebody else here has, and signs no
       employee in, whatever links them.
"""

from collections.abc import Mapping
from typing import Any

from limen.administrator.desk import Desk
from limen.administrator.ledger import Entry
from limen.administrator.session_values import Answer, Proof, SignedIn, Visit
from limen.administrator.sign_in import Attempt, SignIn
from limen.administrator.sign_in_life import SignInEvent, SignInState
from limen.administrator.upstream_groups import rules_of, settle_groups
from limen.administrator.upstream_names import (
    clean_email,
    clean_name,
    derive_username,
    domain_of,
    vouched_email,
)
from limen.core.entities import Kind
from limen.core.errors import Conflict, Invalid
from limen.core.identity_config import SourceRules
from limen.information.identity.assurance import assess_methods
from limen.information.identity.claim_rules import apply_rules, fit_types, read_values, render
from limen.information.identity.upstream_identity import UpstreamIdentity
from limen.store import credentials as keys
from limen.store import directory, identities
from limen.store.identities import UpstreamSession

SUBJECT_LENGTH_MAX = 255  # characters (OpenID Connect Core section 2: `sub`)


class NotAdmitted(Exception):
    """Nobody is let in; nothing of the attempt stays. `why` is for the operator alone."""

    def __init__(self, why: str, person: str | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.person = person


class Admission:
    """Shared by everything that speaks with providers. Threads may share it."""

    def __init__(self, desk: Desk, sign_in: SignIn) -> None:
        self._desk = desk
        self._sign_in = sign_in

    def admit(self, identity: UpstreamIdentity, rules: SourceRules, visit: Visit) -> Answer:
        """Let a verified identity in: make or find the person, settle what they are, open the session.

        The sign-in must be at `SignInState.UPSTREAM`. Its flow (`visit.flow_token`) is closed, if it is open
        still. Returns `SignedIn`, or `Wrong`, with the reason in the event `sign_in.failed`.
        """
        reason = f"sign in through {identity.source}"
        try:
            with self._desk.ledger.entry("nobody", reason, ip=visit.browser.ip) as entry:
                person = self._resolve(entry, identity, rules)
                entry.act_as(person)
                self._settle(entry, person, identity, rules)
                return self._open(entry, person, identity, visit)
        except NotAdmitted as refusal:
            return self.refuse(visit, reason, refusal.why, refusal.person)

    def refuse(self, visit: Visit, reason: str, why: str, person: str | None = None) -> Answer:
        """Record that a sign-in through a provider failed, and return the one answer (law U3).

        Args:
            visit: whose flow is closed.
            reason: of the entry: `sign in through oidc:corp`.
            why: what did not hold, for the operator; never text that a stranger chose.
            person: who it would have been.
        """
        attempt = Attempt(visit, person=person, why=why)
        with self._desk.ledger.entry("nobody", reason, ip=visit.browser.ip) as entry:
            return self._sign_in.advance(entry, attempt, SignInState.UPSTREAM, SignInEvent.UPSTREAM_WRONG)

    # --- who that is here ----------------------------------------------------------------------------

    def _resolve(self, entry: Entry, identity: UpstreamIdentity, rules: SourceRules) -> str:
        """Return the username, of a person who may come in.

        Raises:
            NotAdmitted: nobody here, or somebody who may not.
        """
        if not 0 < len(identity.subject) <= SUBJECT_LENGTH_MAX or not identity.subject.isprintable():
            raise NotAdmitted("its subject is no identifier")
        person = self._linked(entry, identity) or self._listed(entry, identity, rules)
        if person is None:
            if not rules.create:
                raise NotAdmitted("unknown")
            person = self._create(entry, identity, rules)
        owner = keys.load_credentials(entry.tx.connection, person)
        if owner is None or not owner.active_at(entry.tx.now):
            raise NotAdmitted("inactive", person)
        kind = directory.get_person(entry.tx.connection, person).kind
        if rules.kind is not Kind.EMPLOYEE and kind is Kind.EMPLOYEE:
            raise NotAdmitted(f"they are an employee, and the provider is one of {rules.kind}s", person)
        return person

    def _linked(self, entry: Entry, identity: UpstreamIdentity) -> str | None:
        """Return whom this identity is linked to (laws U1, U2)."""
        link = identities.find_identity(entry.tx.connection, identity.source, identity.subject)
        if link is None:
            return None
        if link.issuer and identity.issuer and link.issuer != identity.issuer:
            raise NotAdmitted("the provider's issuer is not the one that this account was linked with")
        if identity.issuer and not link.issuer:
            identities.adopt_issuer(entry.tx, link, identity.issuer)
        return link.person

    def _listed(self, entry: Entry, identity: UpstreamIdentity, rules: SourceRules) -> str | None:
        """Return whom the source that the bundle names lists under the id that the provider vouches for."""
        if not rules.link_source or not rules.link_claim:
            return None
        named = tuple(render(one) for one in read_values(identity.claims, rules.link_claim))
        if len(named) != 1:
            return None
        person = identities.find_owner(entry.tx.connection, rules.link_source, named[0])
        if person is not None:
            self._link(entry, identity, person, by=rules.link_source)
        return person

    def _create(self, entry: Entry, identity: UpstreamIdentity, rules: SourceRules) -> str:
        """Make the person, as the provider's rules say.

        Raises:
            NotAdmitted: they are of no domain of its, nobody answers for them, or the username is taken.
        """
        email = clean_email(identity.email)
        if rules.domains and domain_of(email) not in rules.domains:
            raise NotAdmitted("its e-mail address is not of a domain of this provider, or not verified")
        self._require_sponsor(entry, rules)
        username = derive_username(identity.username)
        try:
            directory.create_person(
                entry.tx,
                username,
                name=clean_name(identity.name),
                email=self._address(entry, username, identity, rules),
                kind=rules.kind,
                expires_at=entry.tx.now + rules.expires_s if rules.expires_s is not None else None,
                source=identity.source,
                sponsor=rules.sponsor,
            )
        except Conflict as error:
            raise NotAdmitted(
                "its username is somebody's here: an identity is never linked by name"
            ) from error
        except Invalid as error:
            raise NotAdmitted("what it sends as username cannot be one") from error
        entry.note("person.created", target=username, by=identity.source)
        self._link(entry, identity, username, by=identity.source)
        return username

    def _require_sponsor(self, entry: Entry, rules: SourceRules) -> None:
        if rules.sponsor is None:
            return
        sponsor = keys.load_credentials(entry.tx.connection, rules.sponsor)
        if sponsor is None or not sponsor.active_at(entry.tx.now):
            raise NotAdmitted("the sponsor of this provider's people is not here any more")

    def _link(self, entry: Entry, identity: UpstreamIdentity, person: str, *, by: str) -> None:
        identities.link_identity(entry.tx, identity.source, identity.subject, person, issuer=identity.issuer)
        entry.note("identity.linked", target=person, source=identity.source, by=by)

    # --- what they are here --------------------------------------------------------------------------

    def _settle(self, entry: Entry, username: str, identity: UpstreamIdentity, rules: SourceRules) -> None:
        given, attributes = apply_rules(rules.rules, identity.claims)
        settle_groups(entry, username, identity, rules, given)
        person = directory.get_person(entry.tx.connection, username)
        if person.source != identity.source:
            return  # somebody else keeps this person: name, address and attributes are theirs to say
        ruled = {rule.attribute for rule in rules.rules if rule.attribute}
        kept = {name: value for name, value in person.attributes.items() if name not in ruled}
        fitted = fit_types(attributes, self._desk.catalogue().attribute_types)
        changes: Mapping[str, Any] = {"attributes": {**kept, **fitted}}
        if name := clean_name(identity.name):
            changes = {**changes, "name": name}
        email = self._address(entry, username, identity, rules)
        directory.update_person(entry.tx, username, email=email, **changes)

    def _address(self, entry: Entry, username: str, identity: UpstreamIdentity, rules: SourceRules) -> str:
        """Return the address that this provider may give them; empty for none (law U10)."""
        every = rules_of(self._desk.catalogue()).items()
        others = {domain for source, its in every if source != identity.source for domain in its.domains}
        email = vouched_email(identity.email, rules.domains, others)
        if rules.kind is not Kind.EMPLOYEE and identities.has_address(entry.tx.connection, email, username):
            return ""
        return email

    def _open(self, entry: Entry, person: str, identity: UpstreamIdentity, visit: Visit) -> Answer:
        attempt = Attempt(visit, person=person)
        methods = (identity.source,)
        attempt.proof = Proof(methods, assess_methods(methods, identity.assurance), identity.auth_at)
        answer = self._sign_in.advance(entry, attempt, SignInState.UPSTREAM, SignInEvent.UPSTREAM_RIGHT)
        if isinstance(answer, SignedIn):
            identities.note_upstream(
                entry.tx,
                UpstreamSession(
                    answer.opened.session.id, identity.source, identity.subject, identity.sid, identity.issuer
                ),
            )
        return answer
