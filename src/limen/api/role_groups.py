"""The groups of Limen's own roles: made when somebody is first put into one."""

from limen.core.roles import ROLE_GROUPS
from limen.store import directory
from limen.store.database import Transaction


def make_role_group(tx: Transaction, name: str) -> None:
    """Make the group of a role of Limen, unless it is there: policies name it before anybody is in it."""
    known = name not in ROLE_GROUPS or any(group.id == name for group in directory.list_groups(tx.connection))
    if not known:
        directory.create_group(tx, name, title=ROLE_GROUPS[name])
