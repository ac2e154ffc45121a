"""A stored resource as the client reads it: its document, who is in what, and `meta`.

Answers are made of the stored JSON itself wherever all of it is wanted: reading it into a model and back
costs a hundred times as much, and a client that lists 20,000 people asks for all of them.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from scim2_models import InvalidValueException, Resource

from limen.administrator.scim_models import ENTERPRISE_URN, model_of
from limen.core.ids import Instant
from limen.store.scim import GROUP, USER, ScimResource
from limen.store.scim_members import Link

DOCUMENT_MAX_BYTES = 65_536
ENDPOINTS: Mapping[str, str] = {USER: "Users", GROUP: "Groups"}
NOT_STORED = frozenset({"id", "meta", "groups", "members", "password"})
"""What is not the client's to say, or stands in rows of its own."""


def strip(resource: Resource[Any]) -> dict[str, Any]:
    """Return what is stored of a resource that the client wrote."""
    tree: dict[str, Any] = resource.model_dump()
    return {name: value for name, value in tree.items() if name not in NOT_STORED}


def encode(document: Mapping[str, Any]) -> str:
    """Return a document as it is stored.

    Raises:
        InvalidValueException: it is larger than what anybody says of a person.
    """
    text = msgspec.json.encode(document)
    if len(text) > DOCUMENT_MAX_BYTES:
        raise InvalidValueException(detail=f"A resource has {DOCUMENT_MAX_BYTES} bytes at most.")
    return text.decode()


def decode(row: ScimResource) -> dict[str, Any]:
    """Return a row's document."""
    found: dict[str, Any] = msgspec.json.decode(row.document)
    return found


def render(row: ScimResource, links: Sequence[Link] | None, base_url: str = "") -> dict[str, Any]:
    """Return a resource as JSON. `links`: its groups, or members; None leaves them out.

    Without `base_url` references are relative, as models have them.
    """
    tree = decode(row)
    tree["id"] = row.id
    if links:
        name = "groups" if row.kind == USER else "members"
        tree[name] = render_links(links, row.kind, base_url)
    if base_url and (manager := (tree.get(ENTERPRISE_URN) or {}).get("manager")):
        manager["$ref"] = _locate(manager.get("$ref"), manager.get("value"), base_url)
        if manager["$ref"] is None:
            del manager["$ref"]
    tree["meta"] = render_meta(row.kind, row.version, row.created_at, row.modified_at)
    if base_url:
        tree["meta"]["location"] = f"{base_url}/{ENDPOINTS[row.kind]}/{row.id}"
    return tree


def render_meta(kind: str, version: int, created_at: Instant, modified_at: Instant) -> dict[str, Any]:
    """Return `meta`, but for the location."""
    return {
        "resourceType": kind,
        "created": render_at(created_at),
        "lastModified": render_at(modified_at),
        "version": f'W/"{version}"',
    }


def render_links(links: Sequence[Link], of: str, base_url: str = "") -> list[dict[str, Any]]:
    """Return the groups of a person (`of` User), or the members of a group."""
    return [_render_link(one, of, base_url) for one in links]


def to_model(row: ScimResource, links: Sequence[Link] | None) -> Resource[Any]:
    """Return a resource as the library's model."""
    found = model_of(row.kind).model_validate(render(row, links))
    assert isinstance(found, Resource)
    return found


def version_of(row: ScimResource) -> str:
    """Return a row's entity tag: weak, as the same state may be written in other bytes (RFC 7644 3.14)."""
    return f'W/"{row.version}"'


def render_at(at: Instant) -> str:
    """Return an instant as RFC 3339 with microseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _render_link(link: Link, of: str, base_url: str) -> dict[str, Any]:
    reference = f"{ENDPOINTS[link.kind]}/{link.id}"
    found = {"value": link.id, "$ref": f"{base_url}/{reference}" if base_url else reference}
    if of == USER:
        return {**found, "display": link.display, "type": "direct"}
    return {**found, "type": link.kind}


def _locate(reference: str | None, value: str | None, base_url: str) -> str | None:
    """Return where a manager is: an address as it was given, or that of the person."""
    if reference and ("://" in reference or reference.startswith("/")):
        return reference
    if reference:
        return f"{base_url}/{reference}"
    return f"{base_url}/{ENDPOINTS[USER]}/{value}" if value else None
