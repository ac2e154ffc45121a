"""What the database forgets of a person who is erased: all but the username, which is never issued again."""

from sqlalchemy import delete

from limen.store import credentials
from limen.store.directory import get_person, note_signed_in, remove_member, update_person
from limen.store.identities import forget_identities
from limen.store.identity_tables import logout_notice, source_account
from limen.store.notices import forget_notices
from limen.store.person_care import forget_care
from limen.store.ports import Writing
from limen.store.recoveries import forget_recoveries
from limen.store.scim import forget_targets
from limen.store.tables import complaint, enrolment_link, session, sign_in


def forget_person(tx: Writing, username: str) -> None:
    """Remove what is held of an ended person: name, address, attributes, memberships, sessions, keys, words.

    Changes of theirs stay in the change feed until it is pruned, which whoever erases does next: rewriting it
    would look like a restore.
    """
    connection = tx.connection
    for group in get_person(connection, username).groups:
        remove_member(tx, group, username)
    update_person(tx, username, name="", email="", attributes={}, signals=(), sponsor=None, groups_unknown="")
    note_signed_in(connection, username, None)
    forget_identities(tx.connection, username)
    forget_care(connection, username)
    credentials.remove_all(connection, username)
    forget_notices(connection, [username])
    forget_recoveries(connection, username)
    forget_targets(tx, username)
    for table in (session, sign_in, enrolment_link, complaint, source_account, logout_notice):
        connection.execute(delete(table).where(table.c.person == username))
