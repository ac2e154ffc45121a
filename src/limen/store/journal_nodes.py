"""Whose checkpoints are believed: of each node that writes a journal, the first key that it showed."""

from sqlalchemy import Connection, delete, insert, select

from limen.store.ports import Writing
from limen.store.tables import journal_node


def load_node_key(connection: Connection, node: str) -> str | None:
    """Return the verifier key of a node, or None if it never showed one."""
    found = connection.scalar(select(journal_node.c.verifier_key).where(journal_node.c.node == node))
    return None if found is None else str(found)


def keep_node_key(tx: Writing, node: str, verifier_key: str) -> None:
    """Keep the key of a node that has none yet."""
    row = {"node": node, "verifier_key": verifier_key, "first_seen_at": tx.now}
    tx.connection.execute(insert(journal_node).values(row))


def forget_node_key(tx: Writing, node: str) -> None:
    """Forget the key of a node that was set up anew: the next one that it shows is believed."""
    tx.connection.execute(delete(journal_node).where(journal_node.c.node == node))
