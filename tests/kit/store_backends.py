"""The databases that the store's tests run on. `new_database` gives a URL of an empty one."""

import atexit
import contextlib
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from postgres import Postgres, running_postgres

from limen.core.clock import FakeClock
from limen.store.database import Store

PRODUCTS = ("postgresql", "sqlite")

_stack = contextlib.ExitStack()


@cache
def shared_postgres() -> Postgres:
    """Return this worker's one server, until it ends; each test has databases of its own there."""
    atexit.register(_stack.close)
    return _stack.enter_context(running_postgres())


@cache
def _template() -> str:
    server = shared_postgres()
    name = server.create_database()
    Store.open(server.url(name), FakeClock()).close()
    return name


@contextlib.contextmanager
def new_database(product: str) -> Iterator[str]:
    """Yield the URL of a database with no changes, and remove it after."""
    if product == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'limen.db'}"
        return
    server = shared_postgres()
    name = server.create_database(_template())
    try:
        yield server.url(name)
    finally:
        server.drop_database(name)


@contextlib.contextmanager
def empty_database(product: str) -> Iterator[str]:
    """Yield the URL of a database without any table."""
    if product == "sqlite":
        with new_database(product) as url:
            yield url
        return
    server = shared_postgres()
    name = server.create_database()
    try:
        yield server.url(name)
    finally:
        server.drop_database(name)
