"""Who keeps a person, changed by hand: a directory takes somebody who is here already, or lets them go."""

from limen.administrator.ledger import Ledger
from limen.core.errors import Conflict, NotFound
from limen.core.identity_config import LdapConfig
from limen.store import directory, identities, sources


def adopt(
    ledger: Ledger, config: LdapConfig, person: str, subject: str, *, actor: str, reason: str
) -> directory.Person:
    """Let a directory keep somebody who is here already: its entry with this stable id is that person.

    Raises:
        NotFound: nobody has this username.
        Conflict: the entry is somebody here, or the person has another entry.
    """
    with ledger.entry(actor, reason) as entry:
        directory.get_person(entry.tx.connection, person)
        for one in identities.list_identities(entry.tx.connection, person):
            if one.source == config.source:
                cure = f"Let it go first: `limen source release {config.name} {person}`."
                raise Conflict(f"{person} is the entry {one.subject} of {config.source}.", remedy=cure)
        identities.link_identity(entry.tx, config.source, subject, person)
        found = directory.update_person(entry.tx, person, source=config.source)
        entry.note("source.adopted", target=config.source, person=person)
    return found


def release(ledger: Ledger, name: str, person: str, *, actor: str, reason: str) -> directory.Person:
    """Take somebody out of a directory's keeping: they stay as they are, and administrators keep them.

    The directory need not be in the bundle any more.

    Raises:
        NotFound: they are not in its keeping.
    """
    source = f"ldap:{name.removeprefix('ldap:')}"
    with ledger.entry(actor, reason) as entry:
        found = directory.get_person(entry.tx.connection, person)
        known = identities.list_identities(entry.tx.connection, person)
        links = [one for one in known if one.source == source]
        if not links and found.source != source:
            raise NotFound(f"{source} does not keep {person}.", remedy="See `limen user show`.")
        for one in links:
            identities.unlink_identity(entry.tx, source, one.subject)
        sources.forget_account(entry.tx, source, person)
        directory.sync_memberships(entry.tx, person, source, ())
        if found.source == source:
            found = directory.update_person(entry.tx, person, source=directory.LOCAL)
        entry.note("source.released", target=source, person=person)
    return found
