"""What an error of PostgreSQL means: an outage, a value that does not fit, or a broken statement.

Source: PostgreSQL's documentation, appendix A, "PostgreSQL Error Codes".
"""

import psycopg
from sqlalchemy.exc import DBAPIError

from limen.core.errors import Invalid, LimenError
from limen.store.backend import URL_VARIABLE, outage

REMEDY = f"Look at the PostgreSQL server that {URL_VARIABLE} names. Limen connects again by itself."

_OUTAGES = {
    "08": REMEDY,  # connection exception
    "25006": "The server is a standby or read only: name one that can be written, or promote it.",
    "25P03": "A node was stopped inside a transaction and lost its turn. Try again.",
    "28": f"Check user, password and pg_hba.conf for {URL_VARIABLE}.",
    "3D000": f"Create the database that {URL_VARIABLE} names.",
    "40": "Try again.",  # serialization failure, deadlock
    "42501": f"Make the role of {URL_VARIABLE} the owner of its database.",
    "53100": "Make room on the database server's disk.",
    "53300": "Raise max_connections: a control node needs 23.",
    "53": REMEDY,  # insufficient resources
    "55P03": "Another node held the database too long. Try again.",
    "57014": "The server took too long. Look at its load, then try again.",
    "57": REMEDY,  # operator intervention: shutdown, crash, starting up
    "58": REMEDY,  # system error: I/O
    "XX": REMEDY,  # internal error, data corrupted
}
"""Remedy by SQLSTATE: the whole code, else its class."""

_GONE = (psycopg.OperationalError, psycopg.InterfaceError)
"""Without a code: the driver could not connect, or lost the connection."""

_UNFIT = frozenset({"22001", "22021"})
"""A text that is too long for its column, or holds what PostgreSQL cannot store."""


def classify(fault: DBAPIError, password: str) -> LimenError | None:
    """Return the error to raise instead; None when the statement is at fault. Never tells `password`."""
    orig = fault.orig
    state = getattr(orig, "sqlstate", None)
    words = _first_line(str(orig), password)
    if state is None:
        if fault.connection_invalidated or isinstance(
            orig, psycopg.OperationalError | psycopg.InterfaceError
        ):
            return outage(words, REMEDY)
        return _unfit(words) if isinstance(orig, psycopg.DataError) else None
    if state in _UNFIT:
        return _unfit(words)
    remedy = _OUTAGES.get(state) or _OUTAGES.get(state[:2])
    return None if remedy is None else outage(words, remedy)


def _unfit(words: str) -> Invalid:
    return Invalid(f"A value does not fit into the database: {words}.", remedy="Shorten it, or mend it.")


def _first_line(text: str, password: str) -> str:
    line = next((part.strip() for part in text.splitlines() if part.strip()), "no reason was given")
    return (line.replace(password, "…") if password else line).rstrip(".")
