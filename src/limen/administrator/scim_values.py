"""Attributes of SCIM by name, read from documents as they are stored. Pure."""

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from scim2_models import Resource, ScimFilter
from scim2_models.path import AttributeBinding, AttrPath
from scim2_server.utils import parametrize

Read = Callable[[Mapping[str, Any]], Any]


def bind(model: type[Any], path: AttrPath, *, for_comparison: bool = False) -> AttributeBinding | None:
    """Return the attribute that a path of a filter means, as the library binds it; None for none."""
    if not issubclass(model, Resource):
        return _bind_part(model, path)
    bound = parametrize(ScimFilter, model)("id pr")
    find = bound.resolve_comparison if for_comparison else bound.resolve
    return find(path, strict=False)


def _bind_part(model: type[Any], path: AttrPath) -> AttributeBinding | None:
    """Bind a name within `emails[…]`, whose model is no resource, as the library does."""
    from scim2_models.path.resolution import _resolve_filter_path

    return _resolve_filter_path(model, path, strict=False)


def reader(binding: AttributeBinding) -> Read:
    """Return what reads an attribute from a document: its value, or all of several."""
    head = binding.model._scim_name(binding.field_name)
    sub = _sub_name(binding)
    urn = str(getattr(binding.model, "__schema__", "") or "")
    nested = ":extension:" in urn

    def read(document: Mapping[str, Any]) -> Any:
        holder = document.get(urn) if nested else document
        value = holder.get(head) if isinstance(holder, Mapping) else None
        if sub is None:
            return value
        if isinstance(value, list):
            return [one.get(sub) for one in value if isinstance(one, Mapping)]
        return value.get(sub) if isinstance(value, Mapping) else None

    return read


def read_value(binding: AttributeBinding, document: Mapping[str, Any]) -> Any:
    """Return the one value that orders a document: of several that of the primary entry, else the first."""
    urn = str(getattr(binding.model, "__schema__", "") or "")
    holder = document.get(urn) if ":extension:" in urn else document
    head = binding.model._scim_name(binding.field_name)
    value = holder.get(head) if isinstance(holder, Mapping) else None
    if isinstance(value, list):
        entries = [one for one in value if isinstance(one, Mapping)] or value
        marked = (one for one in entries if isinstance(one, Mapping) and one.get("primary") is True)
        value = next(marked, entries[0] if entries else None)
    if isinstance(value, Mapping):
        sub = _sub_name(binding)
        value = None if sub is None else value.get(sub)
    return value


def _sub_name(binding: AttributeBinding) -> str | None:
    model, name = binding.target_model, binding.sub_field_name
    return None if model is None or name is None else str(model._scim_name(name))


def dated(read: Read) -> Read:
    """Return what reads instants, of what reads their text."""

    def parse(value: Any) -> Any:
        return datetime.fromisoformat(value.replace("Z", "+00:00")) if isinstance(value, str) else value

    def parsed(document: Mapping[str, Any]) -> Any:
        value = read(document)
        return [parse(one) for one in value] if isinstance(value, list) else parse(value)

    return parsed


def decoded(read: Read) -> Read:
    """Return what reads bytes, of what reads their base64."""

    def decode(value: Any) -> Any:
        try:
            return base64.b64decode(value) if isinstance(value, str) else value
        except binascii.Error:
            return None

    def opened(document: Mapping[str, Any]) -> Any:
        value = read(document)
        return [decode(one) for one in value] if isinstance(value, list) else decode(value)

    return opened
