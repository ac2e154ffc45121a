"""Where `scim2-server` reads and writes: the rows of one client, and through them Limen's directory.

Every write is one transaction of the ledger: rows, directory, events and ended sessions together, or none of
it. What the library does in between (reading bodies, applying a PATCH) holds no transaction.
"""

import secrets
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from scim2_models import (
    ForbiddenException,
    InvalidValueException,
    NotFoundException,
    PreconditionFailedException,
    Resource,
    ResourceType,
    ResponseParameters,
    SCIMException,
    SearchRequest,
    UniquenessException,
)
from scim2_server.storage import ScimStorage, SearchPage

from limen.administrator import scim_groups, scim_people
from limen.administrator.desk import Desk
from limen.administrator.scim_filter import Compiled
from limen.administrator.scim_pages import Order, Page, find_page
from limen.administrator.scim_people import Scope
from limen.administrator.scim_wire import encode, strip, to_model
from limen.core.errors import Conflict, Invalid, LimenError, NotFound, Refused, Unavailable
from limen.core.identity_config import ScimConfig
from limen.store import scim as rows
from limen.store import scim_members
from limen.store.scim import GROUP, USER, ScimResource
from limen.store.scim_members import Link


class UnavailableException(SCIMException):
    """A part that is needed does not answer: try again."""

    status = 503


class ClientStorage(ScimStorage):
    """The resources of one client, for one request from one address."""

    supports_cursors = True

    def __init__(self, desk: Desk, config: ScimConfig, ip: str) -> None:
        self._desk = desk
        self._config = config
        self._ip = ip

    # --- what the library asks -------------------------------------------------------------------------

    def get(
        self,
        resource_type: ResourceType,
        resource_id: str,
        *,
        response_parameters: ResponseParameters[Any] | None = None,
    ) -> Resource[Any]:
        """Return a resource."""
        row, links = self.read(str(resource_type.name), resource_id)
        return to_model(row, links)

    def search(
        self,
        resource_types: list[ResourceType],
        search_request: SearchRequest[Any],
        *,
        position: Any = None,
    ) -> SearchPage:
        """Return a page of resources as models."""
        page = self.find(resource_types, search_request, position)
        models: list[Resource[Any]] = [to_model(row, links) for row, links in page.found]
        return SearchPage(page.total, models, page.next, page.previous)

    def create(self, resource_type: ResourceType, resource: Resource[Any]) -> Resource[Any]:
        """Make a person or a group."""
        document = strip(resource)
        id_ = _new_id()
        with self._writing(f"SCIM: create a {resource_type.name}") as scope:
            if resource_type.name == USER:
                row = scim_people.make_person(scope, id_, document, encode(document))
            else:
                members = _members(resource)
                row = scim_groups.make_group(scope, id_, document, encode(document), members)
            links = self._links(scope, row)
        return to_model(row, links)

    def update(
        self, resource_type: ResourceType, resource: Resource[Any], *, expected_version: str | None = None
    ) -> Resource[Any]:
        """Store what a PUT or PATCH has made of a resource."""
        document = strip(resource)
        kind = str(resource_type.name)
        with self._writing(f"SCIM: change a {kind}") as scope:
            before = self._require(scope, kind, str(resource.id), expected_version)
            if kind == USER:
                row = scim_people.change_person(scope, before, document, encode(document))
                values = scim_people.values_of(document)
            else:
                scim_groups.set_members(scope, before, _members(resource))
                row = scim_groups.change_group(scope, before, document, encode(document))
                values = scim_groups.values_of(document)
            if not rows.save_resource(scope.entry.tx, row, values, expected=before.version):
                raise PreconditionFailedException
            links = self._links(scope, row)
        return to_model(row, links)

    def delete(
        self, resource_type: ResourceType, resource_id: str, *, expected_version: str | None = None
    ) -> None:
        """End a person, or remove a group."""
        kind = str(resource_type.name)
        with self._writing(f"SCIM: delete a {kind}") as scope:
            row = self._require(scope, kind, resource_id, expected_version)
            if kind == USER:
                scim_people.end_person(scope, row)
            else:
                scim_groups.end_group(scope, row)

    # --- what the library has no word for --------------------------------------------------------------

    def read(
        self, kind: str, id_: str, *, with_links: bool = True
    ) -> tuple[ScimResource, Sequence[Link] | None]:
        """Return a row with its members or groups.

        Raises:
            NotFoundException: the client has no such resource.
        """
        with self._desk.ledger.store.read() as connection:
            row = rows.find_resource(connection, self._config.name, kind, id_)
            if row is None:
                raise _missing(kind, id_)
            if not with_links:
                return row, None
            return row, scim_members.links_of(connection, [id_], upwards=kind == USER).get(id_, ())

    def count_members(self, id_: str) -> int:
        """Return how many members a group has."""
        with self._desk.ledger.store.read() as connection:
            return scim_members.count_members(connection, id_)

    def find(
        self,
        resource_types: Sequence[ResourceType],
        search: SearchRequest[Any],
        position: Any,
        *,
        with_links: bool = True,
    ) -> Page:
        """Return a page of rows, each with its members or groups where they are wanted."""
        kinds = [str(one.name) for one in resource_types]
        filters = {kind: Compiled(kind, str(search.filter)) for kind in kinds} if search.filter else {}
        order = Order.read(search, kinds, position)
        with self._desk.ledger.store.read() as connection:
            page = find_page(connection, self._config.name, kinds, filters, order)
            if not with_links:
                return page._replace(found=[(row, None) for row, _ in page.found])
            links: dict[str, list[Link]] = {}
            for kind in kinds:
                ids = [row.id for row, _ in page.found if row.kind == kind]
                links |= scim_members.links_of(connection, ids, upwards=kind == USER)
        return page._replace(found=[(row, links.get(row.id, ())) for row, _ in page.found])

    def make_group(self, resource: Resource[Any], members: Sequence[str]) -> ScimResource:
        """Make a group of a body that has no members, with these."""
        document = strip(resource)
        with self._writing("SCIM: create a Group") as scope:
            return scim_groups.make_group(scope, _new_id(), document, encode(document), members)

    def change_group(self, resource: Resource[Any], members: Sequence[str], version: str) -> ScimResource:
        """Store what a PUT has made of a group; one that changes nothing keeps the version."""
        document = strip(resource)
        with self._writing("SCIM: change a Group") as scope:
            before = self._require(scope, GROUP, str(resource.id), version)
            changed = scim_groups.set_members(scope, before, members)
            if not changed and encode(document) == before.document:
                return before
            row = scim_groups.change_group(scope, before, document, encode(document))
            rows.save_resource(scope.entry.tx, row, scim_groups.values_of(document))
        return row

    def change_members(
        self, id_: str, steps: Sequence[tuple[str, Sequence[str]]], expected_version: str | None
    ) -> ScimResource:
        """Put members into a group and take them out, without reading who else is in it.

        Args:
            steps: `add`, `remove` or `set` with ids; `clear` with none.
        """
        with self._writing("SCIM: change the members of a Group") as scope:
            row = self._require(scope, GROUP, id_, expected_version)
            changed = 0
            for what, ids in steps:
                if what == "add":
                    changed += scim_groups.put_in(scope, row, ids)
                elif what == "set":
                    changed += scim_groups.set_members(scope, row, ids)
                else:
                    changed += scim_groups.take_out(scope, row, None if what == "clear" else ids)
            if not changed:
                return row
            row = msgspec.structs.replace(row, version=row.version + 1, modified_at=scope.entry.tx.now)
            rows.touch_resource(scope.entry.tx, row)
        return row

    # --- inside ----------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, reason: str) -> Iterator[Scope]:
        """Yield what a write works in; what the directory refuses becomes SCIM's own error."""
        types = self._desk.catalogue().attribute_types
        try:
            with self._desk.ledger.entry(f"scim:{self._config.name}", reason, ip=self._ip) as entry:
                yield Scope(self._desk, entry, self._config, types)
        except LimenError as error:
            raise _translate(error) from error

    def _require(self, scope: Scope, kind: str, id_: str, version: str | None) -> ScimResource:
        rows.hold_resource(scope.entry.tx, id_)
        row = rows.find_resource(scope.entry.tx.connection, self._config.name, kind, id_)
        if row is None:
            raise _missing(kind, id_)
        if version is not None and version != f'W/"{row.version}"':
            raise PreconditionFailedException
        return row

    def _links(self, scope: Scope, row: ScimResource) -> Sequence[Link]:
        found = scim_members.links_of(scope.entry.tx.connection, [row.id], upwards=row.kind == USER)
        return found.get(row.id, ())


def _new_id() -> str:
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


def _members(resource: Resource[Any]) -> list[str]:
    """Return the ids of a group's members. One that names its member by `$ref` alone is found by it."""
    found = []
    for one in getattr(resource, "members", None) or ():
        id_ = one.value or str(one.ref or "").rstrip("/").rpartition("/")[2]
        if id_:
            found.append(str(id_))
    return found


def _missing(kind: str, id_: str) -> NotFoundException:
    return NotFoundException(detail=f"There is no {kind} '{id_[:80]}' of this client.")


def _translate(error: LimenError) -> Exception:
    """Return SCIM's word for what the directory refuses (RFC 7644 section 3.12)."""
    detail = f"{error.message} {error.remedy}".strip()
    if isinstance(error, Conflict):
        return UniquenessException(detail=detail)
    if isinstance(error, Invalid):
        return InvalidValueException(detail=detail)
    if isinstance(error, Refused):
        return ForbiddenException(detail=detail)
    if isinstance(error, NotFound):
        return NotFoundException(detail=detail)
    return UnavailableException(detail=detail) if isinstance(error, Unavailable) else error
