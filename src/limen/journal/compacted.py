"""Searching compacted segments with DuckDB. What was typed goes to it as parameters, never as text of SQL."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from limen.core.errors import Invalid
from limen.journal.frame import Kind
from limen.journal.keys import Keys
from limen.journal.parquet import failures, opened, pinned
from limen.journal.query import Query

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CHUNK = 2_000  # candidates whose payloads are read together

log = structlog.get_logger("limen.journal")


class Candidate(NamedTuple):
    """A record that may match, with the outcome that stands in the same segment."""

    position: int
    payload: bytes
    outcome: bytes | None = None


class Table:
    """The rows of some compacted segments, open for queries."""

    def __init__(self, database: "DuckDBPyConnection", files: Sequence[int]) -> None:
        self._database, self._files = database, files

    def find(self, query: Query, keys: Keys) -> Iterator[Candidate]:
        """Yield what may match, newest first."""
        where, values = self._where(query, keys)
        rows = self._database.cursor().execute(
            f'SELECT file, position, outcome FROM part WHERE {where} ORDER BY "at" DESC, position DESC',  # noqa: S608
            values,
        )
        while chunk := rows.fetchmany(max(CHUNK, query.limit)):
            payloads = self._payloads(chunk)
            for file, position, outcome in chunk:
                yield Candidate(position, payloads[file, position], payloads.get((file, outcome)))

    def naming(self, text: str, kind: Kind) -> list[Candidate]:
        """Return the records of a kind whose payload holds a text."""
        return self._candidates("kind = $kind AND contains(payload, $text)", kind=int(kind), text=text)

    def loose_outcomes(self, wanted: Sequence[str]) -> list[Candidate]:
        """Return the outcomes of decisions that are in other segments."""
        where = "kind = $kind AND id IN (SELECT unnest($wanted)) AND payload IS NOT NULL"
        return self._candidates(where, kind=int(Kind.OUTCOME), wanted=list(wanted))

    def query(self, statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a statement about `part`."""
        return self._database.execute(statement, values).fetchall()

    # --- inside -----------------------------------------------------------------------------------

    def _candidates(self, where: str, **values: Any) -> list[Candidate]:
        rows = self.query(f"SELECT position, payload FROM part WHERE {where}", values)  # noqa: S608
        return [Candidate(position, payload.encode()) for position, payload in rows]

    def _payloads(self, chunk: Sequence[tuple[int, int, int | None]]) -> dict[tuple[int, int], bytes]:
        """Return payloads by file and position. Neighbours share a row group, and others are not opened."""
        found: dict[tuple[int, int], bytes] = {}
        for number in {file for file, _, _ in chunk}:
            wanted = {p for file, *both in chunk if file == number for p in both if p is not None}
            rows = self._database.execute(
                "SELECT position, payload FROM read_parquet("  # noqa: S608 – our own descriptor
                f"'/proc/self/fd/{self._files[number]}') WHERE position BETWEEN $low AND $high "
                "AND position IN (SELECT unnest($wanted)) AND kind < $head AND payload IS NOT NULL",
                {"low": min(wanted), "high": max(wanted), "wanted": list(wanted), "head": int(Kind.HEADER)},
            ).fetchall()
            found |= {(number, position): payload.encode() for position, payload in rows}
        return found

    def _where(self, query: Query, keys: Keys) -> tuple[str, dict[str, Any]]:
        kinds = [int(Kind.DECISION)] * query.decisions + [int(Kind.EVENT)] * query.events
        parts, values = ['"at" IS NOT NULL', "kind IN (SELECT unnest($kinds))"], {"kinds": kinds}
        found: dict[str, Any] = values

        def add(condition: str, **more: Any) -> None:
            parts.append(f"({condition})")
            found.update(more)

        if query.id is not None:
            add("contains(payload, $id)", id=query.id)
        if query.since is not None:
            add('"at" >= $since', since=query.since)
        if query.until is not None:
            add('"at" < $until', until=query.until)
        if query.verdict is not None:
            add("verdict = $verdict", verdict=query.verdict)
        if query.code is not None:
            add("code = $code", code=query.code)
        if query.policy is not None:
            add("list_contains(policies, $policy)", policy=query.policy)
        if query.event is not None:
            add("starts_with(event, $event)", event=query.event)
        if query.resource is not None:
            exact, below = query.resources()
            add(
                "resource IN (SELECT unnest($exact)) OR starts_with(resource, $below) "
                "OR starts_with(resource, $route)",
                exact=list(exact),
                below=below[0],
                route=below[1],
            )
        self._add_person(query, keys, add)
        if query.address is not None:
            add("ip IN (SELECT unnest($ips))", ips=self._addresses(query, keys))
        return " AND ".join(parts), found

    def _add_person(self, query: Query, keys: Keys, add: Any) -> None:
        name = query.subject or query.actor
        if name is None:
            return
        if query.erased_key is not None:
            add("starts_with(key, $erased) OR starts_with(actor_key, $erased)", erased=query.erased_key)
            return
        owner = query.owner
        ids = [key.id for key in keys.keys_of(owner)] if owner else []
        names = [name, f'User::"{name}"', f'Workload::"{name}"', *((owner[7:-1],) if owner else ())]
        add(
            "key IN (SELECT unnest($ids)) OR actor_key IN (SELECT unnest($ids)) "
            "OR subject IN (SELECT unnest($names)) OR actor IN (SELECT unnest($names)) "
            "OR target IN (SELECT unnest($names))",
            ids=ids,
            names=names,
        )

    def _addresses(self, query: Query, keys: Keys) -> list[str]:
        """Return the addresses in the network asked for, as they are stored."""
        rows = self._database.execute(
            "SELECT DISTINCT CASE WHEN kind = $event THEN coalesce(nullif(actor_key, ''), key) ELSE key END, "
            "ip FROM part WHERE ip <> '' AND ($since IS NULL OR \"at\" >= $since)",
            {"event": int(Kind.EVENT), "since": query.since},
        ).fetchall()
        found = []
        for key_id, ip in rows:
            key = keys.find(key_id) if key_id else None
            if key is not None:
                try:
                    clear = keys.opened(key, "ip", ip)
                except Invalid:  # changed since it was sealed: verification says so
                    continue
            else:
                clear = "" if key_id else ip
            if query.contains(clear):
                found.append(ip)
        return found


@contextmanager
def opened_table(paths: Sequence[Path]) -> Iterator[Table]:
    """Open compacted segments. Those that are gone, or cannot be read, are passed over, which is logged."""
    with ExitStack() as stack:
        files = stack.enter_context(pinned(paths))
        try:
            database = stack.enter_context(opened(list(files)))
        except failures():
            damaged = [file for file in files if not _readable(file)]
            for file in damaged:
                log.error("journal.unreadable", segment=str(files.pop(file)))
            database = stack.enter_context(opened(list(files)))
        yield Table(database, list(files))


def _readable(file: int) -> bool:
    try:
        with opened([file]):
            return True
    except failures():
        return False
