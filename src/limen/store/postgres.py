"""PostgreSQL 15 or later: one database for several control nodes.

One writer at a time among all nodes: a write transaction begins by waiting for an advisory lock, so what
holds for SQLite's single writer holds here. Readers are REPEATABLE READ and READ ONLY. Only a server that
can be written is ever connected to: what a standby says may be old, and gateways rely on the head.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg import IsolationLevel
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import set_json_dumps, set_json_loads
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from limen.core.errors import Invalid, Refused
from limen.store.backend import URL_EXAMPLE, URL_VARIABLE, WRITE_WAIT_S, encode_json, outage
from limen.store.life import Home
from limen.store.listener import CHANNEL, PostgresListener
from limen.store.postgres_faults import REMEDY, classify

VERSION_MIN = 15
CONNECT_TIMEOUT_S = 5  # for each host of the URL
READERS_KEPT = 8
READERS_MAX = 20
"""With the writer, the listener and a migration a node has 23 connections: four nodes fit into 97."""
READER_WAIT_S = 10.0

LOCK_KEY = 0x4C494D454E  # "LIMEN": the advisory lock of the one writer, in this database

_WRITING = {
    "lock_timeout": f"{WRITE_WAIT_S:.0f}s",
    "statement_timeout": "60s",
    # A node that was stopped or cut off inside a transaction must not keep the others waiting.
    "idle_in_transaction_session_timeout": "30s",
    # Writers find rows by key. Statistics cannot know of a table that an import fills in this very
    # transaction, and reading all of it for each batch makes 20,000 people take a minute.
    "enable_seqscan": "off",
}
_READING = {"statement_timeout": "30s", "idle_in_transaction_session_timeout": "300s"}
_MIGRATING = {"lock_timeout": f"{WRITE_WAIT_S:.0f}s", "statement_timeout": "0"}

_HOME = """
SELECT (SELECT system_identifier FROM pg_control_system())
       || ':' || (SELECT oid FROM pg_database WHERE datname = current_database())
       || ':' || 'state'::regclass::oid,
       left(pg_walfile_name(pg_current_wal_insert_lsn()), 8),
       coalesce(current_setting('limen.failover', true), '') = 'lossless'
"""
_DURABLE = """
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') IN ('off', 'local')
"""
_ABOUT = """
SELECT current_setting('server_version') AS version, current_database() AS database,
       pg_database_size(current_database()) AS size_bytes,
       coalesce(host(inet_server_addr()), 'local socket') AS server,
       current_setting('synchronous_standby_names') AS synchronous_standbys,
       (SELECT count(DISTINCT client_addr || ':' || pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'limen listener') AS nodes_listening
"""


class PostgresBackend:
    """Two engines on one database: `reader` (read only, snapshots) and `writer` (one at a time)."""

    product = "PostgreSQL"
    mark_required = False

    def __init__(self, url: str, mark: Path | None = None) -> None:
        self.mark = mark
        self._parameters = parse_url(url)
        self._node = secrets.token_hex(4)
        self.writer = self._engine(_WRITING, keep=1, most=1)
        self.reader = self._engine(_READING, keep=READERS_KEPT, most=READERS_MAX, read_only=True)
        event.listens_for(self.writer, "begin")(_take_turn)

    @contextmanager
    def migration(self) -> Iterator[Connection]:
        """Yield a connection inside one write transaction that may alter tables."""
        engine = self._engine(_MIGRATING, keep=1, most=1)
        event.listens_for(engine, "begin")(_take_turn)
        try:
            with self.faults(), engine.begin() as connection:
                _require_usable(connection)
                yield connection
        finally:
            engine.dispose()

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Turn a lost connection, a full disk, a standby, a lock held too long into `Unavailable`."""
        try:
            yield
        except PoolTimeout as fault:
            raise outage("every connection is in use", REMEDY) from fault
        except DBAPIError as fault:
            error = classify(fault, str(self._parameters.get("password") or ""))
            if error is None:
                raise  # a broken constraint or statement: the caller's business, or our own bug
            raise error from fault

    def home(self, connection: Connection) -> Home | None:
        """Return where this database lives, asked of the server now."""
        place, timeline, lossless = connection.exec_driver_sql(_HOME).one()
        return Home(place, timeline, lossless)

    def announce(self, connection: Connection) -> None:
        """Let the commit of this transaction wake the other nodes."""
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}, '{self._node}'")

    def listen(self, look: Callable[[], None]) -> PostgresListener:
        """Call `look` in a thread of its own: when others committed, each second, after reconnecting."""
        return PostgresListener(
            lambda: self._connect({}, name="limen listener", autocommit=True), look, own=self._node
        )

    def describe(self, connection: Connection) -> dict[str, Any]:
        """Return version, place and size, and who replicates."""
        return dict(connection.exec_driver_sql(_ABOUT).mappings().one())

    def close(self) -> None:
        """Close every connection."""
        self.reader.dispose()
        self.writer.dispose()

    def _engine(
        self, server_settings: Mapping[str, str], *, keep: int, most: int, read_only: bool = False
    ) -> Engine:
        return create_engine(
            "postgresql+psycopg://",  # the creator knows where; an engine's repr must not
            creator=lambda: self._connect(server_settings, read_only=read_only),
            pool_size=keep,
            max_overflow=most - keep,
            pool_timeout=READER_WAIT_S,
            pool_pre_ping=True,
            hide_parameters=True,
        )

    def _connect(
        self,
        server_settings: Mapping[str, str],
        *,
        read_only: bool = False,
        name: str = "limen",
        autocommit: bool = False,
    ) -> psycopg.Connection[Any]:
        parameters = {"application_name": name, **self._parameters}
        connection = psycopg.connect(**parameters, autocommit=True)
        try:
            for setting, value in server_settings.items():
                connection.execute("SELECT set_config(%s, %s, false)", (setting, value))
            if not read_only:
                connection.execute(_DURABLE)
        except BaseException:
            connection.close()
            raise
        set_json_dumps(encode_json, connection)
        set_json_loads(msgspec.json.decode, connection)
        connection.autocommit = autocommit
        connection.isolation_level = (
            IsolationLevel.REPEATABLE_READ if read_only else IsolationLevel.READ_COMMITTED
        )
        connection.read_only = read_only
        return connection


def parse_url(url: str) -> dict[str, Any]:
    """Return libpq's parameters of a URL, with bounds on how long a dead server may hold us.

    Several hosts are tried in order until one can be written (`?host=a,b`, or `//a,b/`).

    Raises:
        Invalid: not a URL of PostgreSQL, or one that asks for a standby. The text is never repeated.
    """
    scheme, _, rest = url.partition("://")
    try:
        given = conninfo_to_dict(f"postgresql://{rest}")
    except psycopg.Error:  # libpq's words repeat parts of the URL: perhaps the password
        raise Invalid(
            f"{URL_VARIABLE} is not a URL that PostgreSQL's client library reads.",
            remedy=f"Write it like {URL_EXAMPLE}, special characters of the password as %XX.",
        ) from None
    if scheme not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise Invalid(f"{URL_VARIABLE}: the driver is psycopg.", remedy=f"Write it like {URL_EXAMPLE}.")
    if given.setdefault("target_session_attrs", "read-write") not in ("read-write", "primary"):
        raise Invalid(
            f"{URL_VARIABLE}: target_session_attrs asks for a server that may be behind.",
            remedy="Use target_session_attrs=read-write, or leave it out.",
        )
    if not given.get("dbname"):
        raise Invalid(f"{URL_VARIABLE} names no database.", remedy=f"Write it like {URL_EXAMPLE}.")
    bounds: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives_idle": 10,  # seconds
        "keepalives_interval": 5,  # seconds
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,  # milliseconds
        "client_encoding": "utf8",
    }
    return {**bounds, **given}


def _take_turn(connection: Connection) -> None:
    """Wait for the one writer's lock; the transaction's end gives it back."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")


def _require_usable(connection: Connection) -> None:
    version, encoding = connection.exec_driver_sql(
        "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding')"
    ).one()
    if version < VERSION_MIN:
        raise Refused(
            f"{URL_VARIABLE} leads to PostgreSQL {version}; Limen needs {VERSION_MIN} or later.",
            remedy="Upgrade the server.",
            code="DATABASE_OLD",
        )
    if encoding != "UTF8":
        raise Refused(
            f"{URL_VARIABLE} leads to a database with encoding {encoding}, which cannot hold every name.",
            remedy="Make the database with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.",
            code="DATABASE_ENCODING",
        )
