"""What a transaction does to the roles of Limen: whose roles it touches, and whether administrators remain.

Both look at the projections that a transaction has recorded, so it does not matter by which path somebody is
changed: a call, an import, a directory, a provider, a nested group or another bundle.

Laws:
    R2 as in `roles`: `touched` names what is to be asked about.
    R3 somebody administers. A transaction that would take the last administrator away is undone. An
       administrator is an active person without an end to their time who may hand out roles.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from limen.administrator.active import ActiveBundle, load_bundle
from limen.administrator.authority import Authority
from limen.administrator.replica import Replica
from limen.administrator.roles import RoleBook, View
from limen.core.catalogue import ADMIN_APP
from limen.core.changes import BundleFact, GrantFact, GroupFact, PersonFact, WorkloadFact
from limen.core.entities import Status
from limen.core.errors import Refused
from limen.core.ids import EntityRef
from limen.store.database import Transaction
from limen.store.directory.people import load_people

LOOKED_AT = frozenset({"status", "quarantined", "groups", "attributes", "kind", "expires_at"})
"""Fields of a person by which somebody may stop being an administrator."""


class Books:
    """The role book of the bundle in force, made once for each."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._kept: tuple[str, RoleBook] | None = None

    def book(self, active: ActiveBundle) -> RoleBook:
        """Return the book of a bundle. To be called under the authority's lock."""
        if self._kept is None or self._kept[0] != active.id:
            self._kept = (active.id, RoleBook(active, self._authority.now))
        return self._kept[1]

    def holds(self, ref: EntityRef) -> bool:
        """Whether a person or workload has a role of Limen, or a group gives one."""
        return self._authority.ask(lambda replica: self._holds(replica, ref))

    def holders(self) -> tuple[str, ...]:
        """Return everybody in the directory who has a role of Limen."""
        return self._authority.ask(self._holders)

    def touched(self, tx: Transaction) -> tuple[EntityRef, ...]:
        """Return whose roles a transaction touches, and which groups and grants give one, sorted (law R2)."""
        return self._authority.ask(lambda replica: tuple(sorted(self._touched(replica, tx))))

    def _holds(self, replica: Replica, ref: EntityRef) -> bool:
        if replica.active is None:
            return False
        look = _Look(self.book(replica.active), View(replica.value), _granted(replica))
        if ref.type == "Group":
            return look.gives(ref.id)
        fact = replica.value("person" if ref.type == "User" else "workload", ref.id)
        return isinstance(fact, PersonFact | WorkloadFact) and look.has(fact)

    def _holders(self, replica: Replica) -> tuple[str, ...]:
        if replica.active is None:
            return ()
        look = _Look(self.book(replica.active), View(replica.value), _granted(replica))
        return tuple(person.id for person in replica.people() if look.has(person))

    def _touched(self, replica: Replica, tx: Transaction) -> Iterator[EntityRef]:
        if replica.active is None:
            return
        book, granted, groups = self.book(replica.active), _granted(replica), _groups(tx)
        now = _Look(book, View(replica.value), granted)
        then = _Look(book, View(replica.value, groups), granted)
        for kind, cedar in (("person", "User"), ("workload", "Workload")):
            for name, after in tx.recorded(kind).items():
                before = replica.value(kind, name)
                if before != after and (
                    (isinstance(before, PersonFact | WorkloadFact) and now.has(before))
                    or (isinstance(after, PersonFact | WorkloadFact) and then.has(after))
                ):
                    yield EntityRef(cedar, name)
        for name, group in groups.items():
            before = replica.value("group", name)
            if before is not None and before != group and (now.gives(name) or then.gives(name)):
                yield EntityRef("Group", name)
        for name, grant in tx.recorded("grant").items():
            fact = grant if isinstance(grant, GrantFact) else replica.value("grant", name)
            if isinstance(fact, GrantFact) and is_limens(EntityRef(*fact.resource)):
                yield EntityRef(*fact.resource)


class _Look(NamedTuple):
    """One look at the directory."""

    book: RoleBook
    view: View
    granted: frozenset[EntityRef]  # who has a grant on Limen itself

    def has(self, fact: PersonFact | WorkloadFact) -> bool:
        held = self.view.reach(fact.groups)
        me = EntityRef("User" if isinstance(fact, PersonFact) else "Workload", fact.id)
        return me in self.granted or self._by_grant(held) or self.book.has_role(fact, held)

    def gives(self, group: str) -> bool:
        held = self.view.reach((group,))
        return self._by_grant(held) or self.book.gives_role(held)

    def _by_grant(self, groups: Iterable[str]) -> bool:
        return bool(self.granted) and any(EntityRef("Group", name) in self.granted for name in groups)


class LastAdmin:
    """Undoes what would leave nobody who administers (law R3). A guard of the store."""

    def __init__(self, authority: Authority, books: Books) -> None:
        self._authority = authority
        self._books = books
        self._next: tuple[str, RoleBook] | None = None  # of the bundle that is being applied

    def __call__(self, tx: Transaction) -> None:
        """Look at a transaction that is about to be committed.

        Raises:
            Refused: nobody would administer any more.
        """
        if not any(tx.recorded(kind) for kind in ("person", "group", "bundle")):
            return
        lost = self._authority.ask(lambda replica: self._lost(replica, tx))
        if not lost:
            return
        tx.next_seq()  # holds the counter: no other node commits between this look and our commit
        for name in self._authority.ask(lambda replica: tuple(self._after(replica, tx))):
            stored = load_people(tx.connection, [name]).get(name)
            if stored is not None and self._authority.ask(
                lambda replica, fact=stored.fact: self._remains(replica, tx, fact)  # type: ignore[misc]
            ):
                return
        raise Refused(
            f"{lost} is the last who administers Limen: this would leave nobody.",
            remedy="Make somebody else an administrator first: `limen group add-member limen-admins NAME`.",
            code="LAST_ADMIN",
        )

    def _lost(self, replica: Replica, tx: Transaction) -> str:
        """Return an administrator whom a transaction takes away; empty for none."""
        if replica.active is None:
            return ""
        before, now = self._books.book(replica.active), View(replica.value)
        people = tx.recorded("person")
        everybody = bool(tx.recorded("bundle")) or any(
            _shrinks(replica, name, after) for name, after in _groups(tx).items()
        )
        changed = (replica.person(name) for name, after in people.items())
        for fact in replica.people() if everybody else changed:
            if fact is None or not _stands(fact) or not before.administers(fact, now.reach(fact.groups)):
                continue
            after = people.get(fact.id, fact)
            if not everybody and isinstance(after, PersonFact) and not _differs(fact, after):
                continue
            if not isinstance(after, PersonFact) or not self._remains(replica, tx, after):
                return fact.id
        return ""

    def _after(self, replica: Replica, tx: Transaction) -> Iterator[str]:
        """Yield who administers once the transaction is committed, as far as is known here."""
        people = tx.recorded("person")
        book = self._book_after(replica, tx)
        view = View(replica.value, _groups(tx))
        facts: dict[str, Any] = {fact.id: fact for fact in replica.people()} | dict(people)
        likely = sorted(facts, key=lambda name: not _named(facts[name], book))
        for name in likely:
            fact = facts[name]
            if fact is not None and _stands(fact) and book.administers(fact, view.reach(fact.groups)):
                yield name

    def _remains(self, replica: Replica, tx: Transaction, fact: PersonFact) -> bool:
        view = View(replica.value, _groups(tx))
        return _stands(fact) and self._book_after(replica, tx).administers(fact, view.reach(fact.groups))

    def _book_after(self, replica: Replica, tx: Transaction) -> RoleBook:
        assert replica.active is not None
        bundle = next(iter(tx.recorded("bundle").values()), None)
        if not isinstance(bundle, BundleFact):
            return self._books.book(replica.active)
        if self._next is None or self._next[0] != bundle.bundle_id:
            self._next = (bundle.bundle_id, RoleBook(load_bundle(bundle), self._authority.now))
        return self._next[1]


def is_limens(resource: EntityRef) -> bool:
    """Whether a resource is Limen's own administration, or a part of it."""
    return resource.id.partition("/")[0] == ADMIN_APP and resource.type in ("App", "Route")


def _stands(fact: PersonFact) -> bool:
    """Whether somebody is here to stay. That a provider is silent about their groups takes nobody away."""
    return fact.status is Status.ACTIVE and not fact.quarantined and fact.expires_at is None


def _differs(before: PersonFact, after: PersonFact) -> bool:
    return any(getattr(before, name) != getattr(after, name) for name in LOOKED_AT)


def _named(fact: Any, book: RoleBook) -> bool:
    return isinstance(fact, PersonFact) and not book.groups.isdisjoint(fact.groups)


def _groups(tx: Transaction) -> Mapping[str, GroupFact | None]:
    found = tx.recorded("group")
    return {name: fact if isinstance(fact, GroupFact) else None for name, fact in found.items()}


def _shrinks(replica: Replica, name: str, after: GroupFact | None) -> bool:
    before = replica.value("group", name)
    return isinstance(before, GroupFact) and (after is None or not {*before.parents} <= {*after.parents})


def _granted(replica: Replica) -> frozenset[EntityRef]:
    """Return who has a grant on Limen's own administration, expired ones too."""
    held = replica.grants_by_principal()
    return frozenset(ref for ref, grants in held.items() if any(is_limens(one.resource) for one in grants))
