"""Whose checkpoints control believes, as an operator sets it right after a node's key was lost or changed."""

from pathlib import Path

import msgspec

from limen.administrator.ledger import Ledger
from limen.core.errors import Invalid, NotFound
from limen.journal.checkpoints import system_name
from limen.store.journal_nodes import forget_node_key, load_node_key

FORGOTTEN = "journal.key_forgotten"


class Forgotten(msgspec.Struct, frozen=True):
    """The key that a node's checkpoints need no longer be signed by."""

    node: str
    key: str


def row_of(system: str, node: str) -> str:
    """Return the name of a node in the database: several controls, each with its own, may share it."""
    return f"{system[-8:]}/{node}"[:64]


def forget_key(ledger: Ledger, journal: Path, node: str, *, actor: str, reason: str) -> Forgotten:
    """Forget the key of a node, so that control believes the next one that it shows.

    What the old key signed stays believed up to there: control has countersigned it.

    Raises:
        Invalid: without a reason.
        NotFound: control has countersigned nothing of this node.
    """
    if not reason.strip():
        raise Invalid("reason: this needs one.", remedy="Say what became of the node's key.")
    row = row_of(system_name(journal), node)
    with ledger.entry(actor, reason) as entry:
        key = load_node_key(entry.tx.connection, row)
        if key is None:
            raise NotFound(
                f"Control knows no key of node {node}.", remedy="See `limen audit key` for those it knows."
            )
        forget_node_key(entry.tx, row)
        entry.note(FORGOTTEN, target=node, before=key)
    return Forgotten(node, key)
