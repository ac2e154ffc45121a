"""Searching compacted segments with DuckDB. What was typed goes to it as parameters, never as text of SQL."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import structlog

from limen.core.errors import Invalid
from limen.journal.frame import Kind
from limen.journal.keys import Keys
from limen.journal.parquet import failures, opened, pinned
from limen.journal.query import Query

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TEXT_NEAR = 20_000  # records whose text is looked at as it is
CHUNK = 2_000  # candidates whose payloads are read together

log = structlog.get_logger("limen.journal")


_CONDITIONS = {
    "id": "contains(payload, $id)",
    "since": '"at" >= $since',
    "until": '"at" < $until',
    "verdict": "verdict = $verdict",
    "code": "code = $code",
    "policy": "list_contains(policies, $policy)",
    "event": "starts_with(event, $event)",
}
"""Parts of a query that say by themselves which rows they mean."""


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
        """Yield what may match, newest first.

        Text is looked for among the newest as it is; only if that is not enough, what is sealed is opened
        value by value, to find the records that hold it.
        """
        where, values = self._where(query, keys)
        if query.text is None or not query.text.isascii():
            yield from (one for _, one in self._candidates_in(where, values, query.limit))
            return
        seen = set()
        for place, candidate in islice(self._candidates_in(where, values, CHUNK), TEXT_NEAR):
            seen.add(place)
            yield candidate
        if len(seen) == TEXT_NEAR:
            narrow, more = self._with_text(query.text.lower(), query.since, keys)
            for place, candidate in self._candidates_in(f"{where} AND {narrow}", values | more, CHUNK):
                if place not in seen:
                    yield candidate

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

    def _candidates_in(
        self, where: str, values: dict[str, Any], at_once: int
    ) -> Iterator[tuple[tuple[int, int], Candidate]]:
        rows = self._database.cursor().execute(
            f'SELECT file, position, outcome FROM part WHERE {where} ORDER BY "at" DESC, position DESC',  # noqa: S608
            values,
        )
        while chunk := rows.fetchmany(at_once):
            at_once = max(CHUNK, at_once)
            payloads = self._payloads(chunk)
            for file, position, outcome in chunk:
                payload = payloads.get((file, position))
                if payload is not None:
                    yield (file, position), Candidate(position, payload, payloads.get((file, outcome)))

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
        parts = ['"at" IS NOT NULL', "kind IN (SELECT unnest($kinds))"]
        found: dict[str, Any] = {"kinds": kinds}

        def add(condition: str, **more: Any) -> None:
            parts.append(f"({condition})")
            found.update(more)

        for name, condition in _CONDITIONS.items():
            if getattr(query, name) is not None:
                add(condition, **{name: getattr(query, name)})
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
            sealed = self._sealed("ip", keys, query.contains, query.since)
            add("ip IN (SELECT unnest($ips))", ips=sealed)
        return " AND ".join(parts), found

    def _with_text(self, text: str, since: float | None, keys: Keys) -> tuple[str, dict[str, Any]]:
        """Narrow by text: in what is clear, in what opens to it, or in an event, which is opened later."""
        sealed = [
            value
            for field in ("ip", "payload->>'$.path'", "payload->>'$.session'")
            for value in self._sealed(field, keys, lambda clear: text in clear.lower(), since)
        ]
        return (
            "(kind = $event_kind OR contains(lower(payload), $text) OR key IN (SELECT unnest($owners)) "
            "OR ip IN (SELECT unnest($sealed)) OR payload->>'$.path' IN (SELECT unnest($sealed)) "
            "OR payload->>'$.session' IN (SELECT unnest($sealed)))",
            {
                "event_kind": int(Kind.EVENT),
                "text": msgspec.json.encode(text)[1:-1].decode(),
                "owners": [key.id for key in keys.all() if text in key.owner.lower()],
                "sealed": sealed,
            },
        )

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

    def _sealed(
        self, field: str, keys: Keys, wanted: Callable[[str], bool], since: float | None
    ) -> list[str]:
        """Return the values of a field, as they are stored, that open to something wanted.

        `field` is an expression of ours, `path` or `session` of decisions, or `ip`.
        """
        origin = "CASE WHEN kind = $event THEN coalesce(nullif(actor_key, ''), key) ELSE key END"
        rows = self.query(
            f"SELECT DISTINCT {origin}, {field} AS value FROM part "  # noqa: S608
            "WHERE kind IN ($decision, $event) AND \"at\" >= $since AND value <> ''",
            {"event": int(Kind.EVENT), "decision": int(Kind.DECISION), "since": since or 0.0},
        )
        name = "ip" if field == "ip" else field.rpartition(".")[2].rstrip("'")
        found = []
        for key_id, value in rows:
            key = keys.find(key_id) if key_id else None
            try:
                clear = value if not key_id else key.open(name, value) if key else ""
            except Invalid:  # changed since it was sealed: verification says so
                continue
            if clear and wanted(clear):
                found.append(value)
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
