"""What a directory means for the people here: a plan, worked out of values alone.

Laws:
    L1 nobody is taken over. A directory's entry is somebody here only by its stable id. A username that was
       issued is never given to an entry; what others keep of a person is not touched but for the directory's
       own groups.
    L2 never deleted. Whoever the directory has no more, or has turned off, is suspended; back again, they are
       released, unless an administrator suspended them.
    L3 safety stop. When more than the allowed share of its active people would be suspended, or all of them,
       nothing at all is done.
    L4 settled. A plan carried out leaves nothing for the next one over the same directory.
    L5 kept. Whoever's entry could not be read stays as they are.
"""

from collections import Counter
from collections.abc import Mapping
from shlex import quote
from typing import Any

import msgspec

from limen.administrator.upstream_names import clean_email, clean_name, derive_username, domain_of, map_groups
from limen.core.entities import Status
from limen.core.errors import Invalid
from limen.core.identity_config import LdapConfig
from limen.core.ids import Instant
from limen.information.identity.claim_rules import apply_rules, fit_types, read_values
from limen.information.identity.ldap_values import DirectoryPerson, DirectoryRead, Problem
from limen.store.directory.fields import parse_username
from limen.store.directory.people import Person
from limen.store.source_writes import PersonWrite
from limen.store.sources import Known, Says, SourceAccount

_Names = tuple[str, ...]


class SyncPlan(msgspec.Struct, frozen=True):
    """What would be done. With `stop`, nothing is.

    Attributes:
        skipped: entries that are nobody here and are not made: turned off, of another domain, not wanted.
        active: how many of the directory's people were active before.
    """

    writes: tuple[PersonWrite, ...] = ()
    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    suspended: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    skipped: int = 0
    active: int = 0
    problems: tuple[Problem, ...] = ()
    stop: str = ""


def plan_sync(
    config: LdapConfig,
    read: DirectoryRead,
    known: Known,
    types: Mapping[str, str],
    *,
    now: Instant,
    at_most_percent: float | None = None,
) -> SyncPlan:
    """Return what a whole reading of a directory means.

    Args:
        config: the directory.
        read: all that it lists.
        known: what is here of it.
        types: attributes that the bundle declares, with their Cedar types.
        now: the instant of the reading.
        at_most_percent: share of its active people that may be suspended; None is the bundle's.
    """
    planner = _Planner(config, known, types, now)
    planner.take(read)
    limit = config.suspend_max_percent if at_most_percent is None else at_most_percent
    return planner.plan(limit)


class _Planner:
    """One plan being made."""

    def __init__(self, config: LdapConfig, known: Known, types: Mapping[str, str], now: Instant) -> None:
        self._config, self._known, self._types, self._now = config, known, types, now
        self._writes: list[PersonWrite] = []
        self._problems: list[Problem] = []
        self._skipped = 0
        self._ruled = {
            *config.attributes,
            *(rule.attribute for rule in config.people.rules if rule.attribute),
        }

    def take(self, read: DirectoryRead) -> None:
        """Go through what a directory lists."""
        self._problems += read.problems
        self._declared()
        claimed = Counter(
            derive_username(one.username) for one in read.people if one.subject not in self._known.linked
        )
        for entry in sorted(read.people, key=lambda one: one.subject):
            person = self._known.linked.get(entry.subject)
            if person is None:
                self._new(entry, claimed)
            else:
                self._here(entry, person)
        listed = {one.subject for one in read.people} | {one.subject for one in read.problems}
        for subject, person in sorted(self._known.linked.items()):
            if subject not in listed:
                before = self._known.accounts.get(person.id)
                email = before.email if before else person.email
                self._write(person, self._said(person.id, Says.GONE, email, None), subject, {}, ())

    def plan(self, limit_percent: float) -> SyncPlan:
        """Return the plan, or the stop in its place (law L3)."""
        writes = self._writes
        gone = tuple(one.person for one in writes if _status_of(one) == Status.SUSPENDED)
        active = sum(
            one.status is Status.ACTIVE and one.source == self._config.source
            for one in self._known.linked.values()
        )
        back = tuple(one.person for one in writes if _status_of(one) == Status.ACTIVE and one.seen)
        created = tuple(one.person for one in writes if one.new)
        named = {*gone, *back, *created}
        return SyncPlan(
            writes=tuple(writes),
            created=created,
            changed=tuple(one.person for one in writes if one.person not in named and _differs(one)),
            suspended=gone,
            released=back,
            skipped=self._skipped,
            active=active,
            problems=tuple(sorted(self._problems)),
            stop=_stop(len(gone), active, limit_percent),
        )

    # --- one entry -----------------------------------------------------------------------------------

    def _new(self, entry: DirectoryPerson, claimed: Counter[str]) -> None:
        rules, email = self._config.people, clean_email(entry.email)
        ended = entry.ends_at is not None and entry.ends_at <= self._now
        elsewhere = bool(rules.domains) and domain_of(email) not in rules.domains
        if entry.disabled or ended or elsewhere or not rules.create:
            self._skipped += 1
            return
        username = derive_username(entry.username)
        wrong = self._wrong_name(entry, username, claimed[username])
        if wrong is not None:
            self._problems.append(wrong)
            return
        fields = {"name": clean_name(entry.name), "email": email, "attributes": self._attributes(entry)}
        ends = entry.ends_at
        if ends is None and rules.expires_s is not None:
            ends = self._now + rules.expires_s
        account = self._said(username, Says.ACTIVE, email, entry.ends_at)
        self._writes.append(
            PersonWrite(
                username,
                entry.subject,
                fields={**fields, "expires_at": ends},
                groups=self._groups(entry),
                account=account,
                kind=rules.kind,
                sponsor=rules.sponsor,
            )
        )

    def _here(self, entry: DirectoryPerson, person: Person) -> None:
        attributes = {name: value for name, value in person.attributes.items() if name not in self._ruled}
        fields: dict[str, Any] = {
            "name": clean_name(entry.name) or person.name,
            "email": clean_email(entry.email),
            "attributes": {**attributes, **self._attributes(entry)},
        }
        before = self._known.accounts.get(person.id)
        if entry.ends_at is not None:
            fields["expires_at"] = entry.ends_at
        elif before is not None and before.ends_at is not None and person.expires_at == before.ends_at:
            fields["expires_at"] = None
        says = Says.DISABLED if entry.disabled else Says.ACTIVE
        said = self._said(person.id, says, fields["email"], entry.ends_at)
        self._write(person, said, entry.subject, fields, self._groups(entry))

    def _write(
        self, person: Person, said: SourceAccount, subject: str, fields: Mapping[str, Any], groups: _Names
    ) -> None:
        """Note what differs of somebody who is here; nothing does: nothing is written (law L4)."""
        before = self._known.accounts.get(person.id)
        wanted, suspended = dict(fields), before is not None and before.suspended
        if person.source != self._config.source or person.status is Status.ENDED:
            wanted, suspended = {}, False  # kept by others, or over for good (law L1)
        elif said.says is not Says.ACTIVE and person.status is Status.ACTIVE:
            wanted["status"], suspended = Status.SUSPENDED, True
        elif said.says is Says.ACTIVE:
            if person.status is Status.SUSPENDED and suspended:
                wanted["status"] = Status.ACTIVE
            suspended = False
        groups = () if person.status is Status.ENDED else groups
        differing = {name: value for name, value in wanted.items() if value != getattr(person, name)}
        held = self._known.groups.get(person.id, frozenset())
        moved = bool(held - set(groups)) or bool(set(groups) - set(person.groups))
        account: SourceAccount | None = msgspec.structs.replace(said, suspended=suspended)
        if before is not None and msgspec.structs.replace(before, since=said.since) == account:
            account = None
        if differing or moved or account is not None:
            given = groups if moved else None
            self._writes.append(
                PersonWrite(person.id, subject, seen=person, fields=differing, groups=given, account=account)
            )

    # --- parts ---------------------------------------------------------------------------------------

    def _said(self, person: str, says: Says, email: str, ends_at: Instant | None) -> SourceAccount:
        return SourceAccount(self._config.source, person, says, email, self._now, ends_at=ends_at)

    def _groups(self, entry: DirectoryPerson) -> tuple[str, ...]:
        given, _ = apply_rules(self._config.people.rules, entry.claims)
        listed = map_groups(entry.groups, self._config.people.group_prefix)
        return tuple(sorted({*listed, *map_groups(given, "")}))

    def _attributes(self, entry: DirectoryPerson) -> dict[str, Any]:
        _, ruled = apply_rules(self._config.people.rules, entry.claims)
        found: dict[str, Any] = dict(ruled)
        for name, attribute in self._config.attributes.items():
            values = read_values(entry.claims, attribute)
            if len(values) == 1:
                found[name] = values[0]
        fitted = fit_types(found, self._types)
        for name in sorted(found.keys() - fitted.keys() & self._types.keys()):
            said = (
                f"The attribute {name} is declared as {self._types[name]}, and {found[name]!r:.60} is none."
            )
            self._problems.append(Problem(entry.dn, said, "Correct it there, or declare another type."))
        return fitted

    def _declared(self) -> None:
        for name in sorted(self._ruled - self._types.keys()):
            said = f"ldap.{self._config.name} gives an attribute {name} that the bundle does not declare."
            self._problems.append(
                Problem("limen.yaml", said, f"Declare it: `attributes: {{{name}: String}}`.")
            )

    def _wrong_name(self, entry: DirectoryPerson, username: str, claims: int) -> Problem | None:
        """Return why nobody can be made under this username (law L1)."""
        try:
            parse_username(username)
        except Invalid:
            said = f"{entry.username!r:.80} cannot be a username."
            return Problem(entry.dn, said, "Set `username` to another attribute.", entry.subject)
        if username in self._known.usernames:
            said = f"The username {username} was issued here to somebody else."
            command = (
                f"limen source adopt {self._config.name} {username} {quote(entry.subject)} --reason same"
            )
            return Problem(entry.dn, said, f"If it is the same person: `{command}`.", entry.subject)
        if claims > 1:
            said = f"{claims} entries would be {username} here."
            return Problem(entry.dn, said, "Set `username` to an attribute that differs.", entry.subject)
        return None


def _status_of(write: PersonWrite) -> Status | None:
    found: Status | None = write.fields.get("status")
    return found


def _differs(write: PersonWrite) -> bool:
    """Whether anybody but the directory's own notes sees a difference."""
    return bool(write.fields) or write.groups is not None


def _stop(suspended: int, active: int, limit_percent: float) -> str:
    """Return why nothing is done; one leaver of several never stops it, all of them always do."""
    if suspended == 0 or limit_percent >= 100:
        return ""
    if suspended >= active > 1:
        return f"All {active} active people of this directory would be suspended."
    if suspended > 1 and suspended * 100 > limit_percent * active:
        return (
            f"{suspended} of {active} active people of this directory would be suspended, more than "
            f"{limit_percent:g} %."
        )
    return ""
