"""Where people come from, over the admin API: what keeps them, how directories were read, reading one now."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import structlog
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import Field
from sqlalchemy import Connection, func, select

from limen.administrator import ldap_keeping
from limen.administrator.apart import Outcome, Step, Tell
from limen.administrator.ldap_sync import LdapSync, SyncReport
from limen.api.body import Body, Why
from limen.api.deps import Actor, AdminDeps, Deps, decided
from limen.api.lines import stream_lines
from limen.core.catalogue import Catalogue
from limen.core.errors import LimenError, Unavailable
from limen.core.secret import Secret
from limen.store import sources
from limen.store.secrets import load_secret
from limen.store.tables import person

router = APIRouter(tags=["sources"])
log = structlog.get_logger("limen.api")

LISTS = ("created", "changed", "suspended", "released", "problems")
NAMES_MAX = 100  # names of one list in an answer; its count says how many there are


class Reading(Body):
    """A directory to read now. `suspend_at_most_percent` lifts the safety stop for this once."""

    dry_run: bool = False
    suspend_at_most_percent: float | None = Field(default=None, ge=0, le=100)
    reason: str = ""


class Adoption(Body):
    """Which entry a person is: its stable id (`entryUUID`, `objectGUID`)."""

    subject: str = Field(min_length=1, max_length=255)
    reason: Why


def syncing(deps: AdminDeps) -> LdapSync:
    """Return what reads the directories of the bundle in force."""

    def secret(name: str) -> Secret[str]:
        with deps.store.read() as connection:
            return load_secret(connection, name, deps.sealer)

    return LdapSync(deps.ledger, deps.desk.sessions, lambda: deps.authority.active().catalogue, secret)


@router.get("/v1/sources", summary="List sources", **decided("read", "sources"))
def list_sources(deps: Deps) -> list[dict[str, Any]]:
    """Return every source of people: how many it keeps, and for a directory how its last reading went.

    A source that the bundle does not name any more, and that keeps people still, is `configured: false`.
    """
    catalogue = deps.authority.active().catalogue
    with deps.store.read() as connection:
        kept = _kept(connection)
        names = list(dict.fromkeys(["local", *configured_sources(catalogue), *sorted(kept)]))
        return [_source(connection, name, catalogue, kept.get(name, 0)) for name in names]


@router.get("/v1/sources/{source}/runs", summary="List readings", **decided("read", "sources"))
def list_runs(source: str, deps: Deps) -> list[dict[str, Any]]:
    """Return the last readings of a directory, the latest first, with what could not be read."""
    name = syncing(deps).config(source).source
    with deps.store.read() as connection:
        return [msgspec.to_builtins(one) for one in sources.list_runs(connection, name)]


@router.post("/v1/sources/{source}/sync", summary="Read a directory", **decided("admin", "sources"))
def sync(source: str, body: Reading, deps: Deps, actor: Actor) -> StreamingResponse:
    """Read a directory now, and bring its people here up to it; `dry_run` only says what would be done.

    Sends how far it is, and the outcome at last. Whoever stops listening does not stop it.
    """
    syncing(deps).config(source)  # a name that is none is refused before the answer begins

    def work(tell: Tell) -> SyncReport:
        return syncing(deps).sync(
            source,
            actor=actor,
            reason=body.reason or f"read {source}",
            dry_run=body.dry_run,
            at_most_percent=body.suspend_at_most_percent,
            tell=tell,
        )

    return stream_lines(_followed(work))


def _followed(work: Callable[[Tell], SyncReport]) -> Iterator[Step | Outcome]:
    """Do work in a thread of its own; yield how far it is, and its outcome."""
    words: queue.SimpleQueue[Step | Outcome | LimenError] = queue.SimpleQueue()

    def run() -> None:
        try:
            report = work(lambda done, of: words.put(Step(done, of)))
        except LimenError as error:
            words.put(error)
        except Exception:
            log.exception("sources.sync_failed")
            words.put(Unavailable("The reading failed.", remedy="Look at control's log."))
        else:
            words.put(Outcome(_shown(report)))

    threading.Thread(target=run, name="sync", daemon=True).start()
    while True:
        word = words.get()
        if isinstance(word, LimenError):
            raise word
        yield word
        if isinstance(word, Outcome):
            return


def _shown(report: SyncReport) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(report)
    return {**told, **{name: told[name][:NAMES_MAX] for name in LISTS}, "counts": report.counts}


@router.put(
    "/v1/sources/{source}/people/{person}",
    summary="Let a directory keep a person",
    **decided("admin", "sources"),
)
def adopt(source: str, person: str, body: Adoption, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Let a directory keep somebody who is here: the entry with this stable id is that person."""
    config = syncing(deps).config(source)
    found = ldap_keeping.adopt(deps.ledger, config, person, body.subject, actor=actor, reason=body.reason)
    return dict(msgspec.to_builtins(found))


@router.delete(
    "/v1/sources/{source}/people/{person}",
    summary="Take a person out of a directory's keeping",
    **decided("admin", "sources"),
)
def release(source: str, person: str, deps: Deps, actor: Actor, reason: str = "") -> dict[str, Any]:
    """Take somebody out of a directory's keeping: they stay as they are, kept by administrators."""
    found = ldap_keeping.release(deps.ledger, source, person, actor=actor, reason=reason)
    return dict(msgspec.to_builtins(found))


def configured_sources(catalogue: Catalogue) -> tuple[str, ...]:
    """Return the sources that a bundle names."""
    of = catalogue.sources
    kinds = (("oidc", catalogue.oidc), ("saml", of.saml), ("ldap", of.ldap), ("scim", of.scim))
    return tuple(f"{kind}:{one.name}" for kind, listed in kinds for one in listed)


def _kept(connection: Connection) -> dict[str, int]:
    rows = connection.execute(select(person.c.source, func.count().label("people")).group_by(person.c.source))
    return {row.source: row.people for row in rows}


def _source(connection: Connection, name: str, catalogue: Catalogue, people: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "source": name,
        "configured": name == "local" or name in configured_sources(catalogue),
        "people": people,
    }
    if name.startswith("ldap:"):
        run = next(iter(sources.list_runs(connection, name, limit=1)), None)
        config = next((one for one in catalogue.sources.ldap if one.source == name), None)
        found |= {"url": config.url if config else "", "every_s": config.every_s if config else 0.0}
        found["last"] = msgspec.to_builtins(run) if run is not None else None
    return found
