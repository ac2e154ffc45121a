"""The SCIM protocol for one client: `scim2-server`'s steps, with answers made of stored JSON.

A PATCH is answered with 200 and the resource (RFC 7644 section 3.5.2 lets a server answer 204; clients that
keep the answer as their state go wrong with it), but for groups of more than `MEMBERS_SHOWN` members.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, cast

from pydantic_core import to_json
from scim2_models import (
    Context,
    InvalidSyntaxException,
    InvalidValueException,
    PatchOp,
    Resource,
    ResponseParameters,
    SearchRequest,
)
from scim2_server.handler import ScimHandler
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import Operation, Target
from scim2_server.service import ScimService
from scim2_server.storage import SearchPage

from limen.administrator.scim_filter import demand_bounded
from limen.administrator.scim_habits import MemberSteps, read_body, read_member_steps, take_members
from limen.administrator.scim_models import load_provider, resource_type
from limen.administrator.scim_storage import ClientStorage
from limen.administrator.scim_wire import render, to_model, version_of
from limen.store.scim import GROUP, ScimResource
from limen.store.scim_members import Link

MEMBERS_SHOWN = 1_000  # in the answer to a PATCH of a group
PATCH_OPERATIONS_MAX = 1_000
WHOLE_OPERATIONS_MAX = 100  # of a PATCH each of whose operations reads the whole resource


class ClientService(ScimService):
    """The steps, as this server takes them. `secret` seals cursors: every control node has the same."""

    def __init__(self, secret: bytes) -> None:
        super().__init__(load_provider(), secret=secret)

    def patch_response(
        self, base_url: str, resource: Resource[Any], response_parameters: ResponseParameters[Any]
    ) -> ScimResponse:
        """Return 200 with the resource."""
        published = self.publish(base_url, resource)
        return self.resource_response(published, Context.RESOURCE_REPLACEMENT_RESPONSE, response_parameters)

    def read_patch(self, resource_type: Any, body: bytes, content_type: str | None) -> "PatchOp[Any]":
        """Validate a PATCH of bounded length."""
        found = super().read_patch(resource_type, body, content_type)
        if len(found.operations or ()) > PATCH_OPERATIONS_MAX:
            raise InvalidValueException(detail=f"Operations: send at most {PATCH_OPERATIONS_MAX} at once.")
        return found

    def read_search(self, resource_types: Any, payload: Any) -> tuple[SearchRequest[Any], Any]:
        """Validate a search whose filter is bounded."""
        if not isinstance(payload, dict):
            raise InvalidSyntaxException(detail="A search is a JSON object.")
        for name, value in payload.items():
            if name.lower() == "filter" and isinstance(value, str):
                demand_bounded(value)
        return super().read_search(resource_types, payload)


class ClientHandler(ScimHandler):
    """The operations on one client's resources."""

    storage: ClientStorage

    def __init__(self, service: ClientService, storage: ClientStorage) -> None:
        super().__init__(service, storage)

    def query(self, request: ScimRequest) -> ScimResponse:
        """Read a resource."""
        excluded = {one.strip().lower() for one in request.query.get("excludedAttributes", "").split(",")}
        if "attributes" in request.query or excluded - {"", "members", "groups"}:
            return super().query(request)
        with self.service.provider:
            target = self.service.route(request, Operation.query)
            kind = self.service.resource_type_at(cast(str, target.endpoint)).name
            id_ = cast(str, target.resource_id)
            row, links = self.storage.read(str(kind), id_, with_links=not excluded - {""})
            conditions = self.service.read_conditions(request)
            if not conditions.check(version_of(row), "GET"):
                return ScimResponse(HTTPStatus.NOT_MODIFIED, None, {"ETag": version_of(row)})
            return _answer(row, links, request.base_url)

    def search(self, request: ScimRequest) -> ScimResponse:
        """Search with GET."""
        target = self.service.route(request, Operation.search)
        with self.service.provider:
            types = self.service.searched_types(target.endpoint)
            search, position = self.service.read_search_query(types, request.query)
            return self._found(request, types, search, position)

    def search_with_body(self, request: ScimRequest) -> ScimResponse:
        """Search with POST on `.search`."""
        with self.service.provider:
            target = self.service.route(request, Operation.search_with_body)
            types = self.service.searched_types(target.endpoint)
            content_type = request.header("Content-Type")
            search, position = self.service.read_search_body(types, request.body, content_type)
            return self._found(request, types, search, position)

    def patch(self, request: ScimRequest) -> ScimResponse:
        """Modify a resource; members of a group without reading all of them."""
        with self.service.provider:
            target = self.service.route(request, Operation.patch)
            kind = str(self.service.resource_type_at(cast(str, target.endpoint)).name)
            tree = self._settle(request)
            steps = read_member_steps(tree) if kind == GROUP else None
            if steps is not None and not _projects(request):
                return self._change_members(request, target, steps)
            return super().patch(request)

    def replace(self, request: ScimRequest) -> ScimResponse:
        """Replace a resource; of a group, the members apart from what else it says."""
        with self.service.provider:
            target = self.service.route(request, Operation.replace)
            kind = str(self.service.resource_type_at(cast(str, target.endpoint)).name)
            tree = self._settle(request)
            members = take_members(tree) if kind == GROUP and not _projects(request) else None
            if members is None:
                return super().replace(request)
            request.body = to_json(tree)
            return self._replace_group(request, cast(str, target.resource_id), members)

    def create(self, request: ScimRequest) -> ScimResponse:
        """Create a resource; of a group, the members apart from what else it says."""
        with self.service.provider:
            target = self.service.route(request, Operation.create)
            kind = str(self.service.resource_type_at(cast(str, target.endpoint)).name)
            tree = self._settle(request)
            members = take_members(tree) if kind == GROUP else None
            if members is None:
                return super().create(request)
            request.body = to_json(tree)
            content_type = request.header("Content-Type")
            resource = self.service.read_creation(resource_type(GROUP), request.body, content_type)
            row = self.storage.make_group(resource, members)
            links = self.storage.read(GROUP, row.id)[1]
            answer = _answer(row, links, request.base_url)
            answer.headers["Location"] = answer.headers["Content-Location"]
            return ScimResponse(HTTPStatus.CREATED, answer.body, answer.headers)

    def bulk(self, request: ScimRequest) -> ScimResponse:
        """Run a bulk request."""
        self.service.ensure_bulk_payload_size(len(request.body))
        self._settle(request)
        return super().bulk(request)

    # --- inside ----------------------------------------------------------------------------------------

    def _settle(self, request: ScimRequest) -> Any:
        """Take clients' habits out of a body, and return what it says."""
        self.service.ensure_json(request.header("Content-Type"))
        tree = read_body(request.body)
        request.body = tree.encoded
        return tree.value

    def _replace_group(self, request: ScimRequest, id_: str, members: Sequence[str]) -> ScimResponse:
        row, _ = self.storage.read(GROUP, id_, with_links=False)
        self.service.read_conditions(request).check(version_of(row), "PUT")
        current = to_model(row, None)
        replacement = self.service.read_replacement(
            resource_type(GROUP), request.body, request.header("Content-Type")
        )
        replacement.replace(current)
        row = self.storage.change_group(replacement, members, version_of(row))
        row, links = self.storage.read(GROUP, id_)
        return _answer(row, links, request.base_url)

    def _found(
        self, request: ScimRequest, types: Any, search: SearchRequest[Any], position: Any
    ) -> ScimResponse:
        excluded = {str(one).lower() for one in search.excluded_attributes or ()}
        if search.attributes or excluded - {"members", "groups"}:
            page = self.storage.search(types, search, position=position)
            return self.service.search_response(request.base_url, types, page, search)
        found = self.storage.find(types, search, position, with_links=not excluded)
        # The library makes the frame (totals, cursors), and the resources are laid into it as they are.
        empty = SearchPage(found.total, [], found.next, found.previous)
        answer = self.service.search_response(request.base_url, types, empty, search)
        assert answer.body is not None
        resources = [render(row, links, request.base_url.rstrip("/")) for row, links in found.found]
        answer.body = {**answer.body, "itemsPerPage": len(resources), "Resources": resources}
        return answer

    def _change_members(self, request: ScimRequest, target: Target, steps: MemberSteps) -> ScimResponse:
        id_ = cast(str, target.resource_id)
        row, _ = self.storage.read(GROUP, id_, with_links=False)
        conditions = self.service.read_conditions(request)
        conditions.check(version_of(row), "PATCH")
        row = self.storage.change_members(id_, steps, version_of(row))
        if self.storage.count_members(id_) > MEMBERS_SHOWN:
            return ScimResponse(HTTPStatus.NO_CONTENT, None, {"ETag": version_of(row)})
        row, links = self.storage.read(GROUP, id_)
        return _answer(row, links, request.base_url)

    def patch_resource(
        self, resource_type: Any, resource_id: str, patch_op: "PatchOp[Any]", conditions: Any
    ) -> Resource[Any]:
        """Apply a PATCH, of bounded length where each operation reads the whole resource."""
        if len(patch_op.operations or ()) > WHOLE_OPERATIONS_MAX:
            raise InvalidValueException(detail=f"Operations: send at most {WHOLE_OPERATIONS_MAX} at once.")
        return super().patch_resource(resource_type, resource_id, patch_op, conditions)


def _projects(request: ScimRequest) -> bool:
    """Say whether a request wants a part of its resource."""
    return "attributes" in request.query or "excludedAttributes" in request.query


def _answer(row: ScimResource, links: Sequence[Link] | None, base_url: str) -> ScimResponse:
    tree = render(row, links, base_url.rstrip("/"))
    headers = {"Content-Location": tree["meta"]["location"], "ETag": version_of(row)}
    return ScimResponse(HTTPStatus.OK, tree, headers)
