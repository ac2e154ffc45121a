"""Groups of people who come from a provider: listed by it, given by rules of the bundle, or not known.

An organisation with many groups sends a pointer instead of a list (Entra: `_claim_names`, `hasgroups`). Then
groups come from another source, and until it has listed this person they are unknown: `groups_unknown` names
the provider, and the engine denies (law U4).
"""

from collections.abc import Iterable, Sequence

from limen.administrator.ledger import Entry, Ledger
from limen.administrator.upstream_names import map_groups
from limen.core.catalogue import Catalogue
from limen.core.errors import Refused
from limen.core.identity_config import SourceRules
from limen.information.identity.upstream_identity import UpstreamIdentity
from limen.store import directory, identities
from limen.store.database import Transaction

DIRECTORIES = ("scim:", "ldap:")  # sources that list people, whoever signs in
BATCH = 200  # people of one transaction
SIGN_IN = ("claims", "endpoint")  # groups that are read at the sign-in itself


def settle_groups(
    entry: Entry, person: str, identity: UpstreamIdentity, rules: SourceRules, given: Iterable[str]
) -> None:
    """Make a person's groups what this sign-in says; `given` are those that the rules of the bundle give."""
    read_here = rules.groups_from in SIGN_IN
    listed = identity.groups or () if read_here else ()
    names = {*map_groups(listed, rules.group_prefix), *map_groups(given, "")}
    directory.sync_memberships(entry.tx, person, identity.source, names)
    before = directory.get_person(entry.tx.connection, person).groups_unknown
    missing = read_here and identity.groups is None
    unknown = (missing or not read_here) and not _listed_by(entry.tx, person, rules)
    if unknown and not before:
        directory.update_person(entry.tx, person, groups_unknown=identity.source)
    if unknown:
        cause = identity.groups_missing or f"{rules.groups_from} has not listed this person yet"
        entry.note("identity.groups_unknown", target=person, source=identity.source, why=cause)
    elif before == identity.source:
        directory.update_person(entry.tx, person, groups_unknown="")


def settle_listed(ledger: Ledger, catalogue: Catalogue) -> int:
    """Make known the groups of people whom another source has listed meanwhile; return of how many.

    Call it after a SCIM client or a directory has written people, and with every sweep. A provider that is
    gone has nothing more to list.
    """
    with ledger.store.read() as connection:
        unlisted = identities.list_unlisted(connection)
    if not unlisted:
        return 0
    rules = rules_of(catalogue)
    count = 0
    with ledger.entry("limen", "groups are listed now") as entry:
        for person, source in unlisted:
            if source not in rules or _listed_by(entry.tx, person, rules[source]):
                directory.update_person(entry.tx, person, groups_unknown="")
                entry.note("identity.groups_listed", target=person, source=source)
                count += 1
    return count


def withdraw_groups(ledger: Ledger, catalogue: Catalogue) -> int:
    """Take back what providers gave that the bundle does not have any more; return from how many people.

    Their people may still come in another way. A provider that comes back gives it again at the next sign-in.
    The last administrator keeps what makes them one, until there is another: nobody else keeps anything.
    """
    known = rules_of(catalogue)
    with ledger.store.read() as connection:
        gone = [(who, source) for who, source in identities.list_given(connection) if source not in known]
    return sum(_withdraw(ledger, gone[start : start + BATCH]) for start in range(0, len(gone), BATCH))


def _withdraw(ledger: Ledger, batch: Sequence[tuple[str, str]]) -> int:
    """Take a batch back in one transaction; one that may not be, one by one. Return from how many."""
    try:
        with ledger.entry("limen", "its provider is not configured any more") as entry:
            for person, source in batch:
                directory.sync_memberships(entry.tx, person, source, ())
                entry.note("identity.groups_withdrawn", target=person, source=source)
        return len(batch)
    except Refused:
        if len(batch) == 1:
            return 0
    return sum(_withdraw(ledger, (one,)) for one in batch)


def rules_of(catalogue: Catalogue) -> dict[str, SourceRules]:
    """Return the rules of every provider of the bundle, by source."""
    found = {f"oidc:{config.name}": config.people for config in catalogue.oidc}
    return found | {f"saml:{config.name}": config.people for config in catalogue.sources.saml}


def _listed_by(tx: Transaction, person: str, rules: SourceRules) -> bool:
    """Say whether who lists the groups of this provider's people has listed this one."""
    sources = DIRECTORIES if rules.groups_from in SIGN_IN else (rules.groups_from,)
    return any(identities.lists_person(tx.connection, person, source) for source in sources)
