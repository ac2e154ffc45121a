"""`limen protect`: add an app or a service to the text of a `limen.yaml`, and leave all else alone."""

import json
from collections.abc import Mapping, Sequence

import yaml

from limen.core.errors import Conflict, Invalid

_ONE: Mapping[str, str] = {"apps": "an app", "services": "a service", "clients": "a client"}


def add_app(text: str, *, name: str, upstream: str, allow: tuple[str, ...]) -> str:
    """Return the text with the app added at the end of `apps`.

    Raises:
        Conflict: there is an app of that name.
        Invalid: the text is not YAML, or `apps` is not a mapping.
    """
    return _add(text, "apps", name, _lines({"upstream": upstream}, allow))


def add_service(text: str, *, name: str, address: str, protocol: str = "", allow: tuple[str, ...]) -> str:
    """Return the text with the service added at the end of `services`. Raises as `add_app` does."""
    said = {"address": json.dumps(address), **({"protocol": protocol} if protocol else {})}
    return _add(text, "services", name, _lines(said, allow))


def add_scim(text: str, *, name: str) -> str:
    """Return the text with a SCIM client added at the end of `scim`. Raises as `add_app` does."""
    return _add(text, "scim", name, ())


def add_client(text: str, *, name: str, said: Mapping[str, object], allow: tuple[str, ...]) -> str:
    """Return the text with the client added at the end of `clients`. Raises as `add_app` does.

    Args:
        text: of `limen.yaml`.
        name: of the client, its `client_id`.
        said: its keys and values; a table of its own is one level deep.
        allow: who may sign in.
    """
    lines = []
    for key, value in said.items():
        if isinstance(value, Mapping):
            lines += [f"{key}:", *(f"  {inner}: {_flow(one)}" for inner, one in value.items())]
        else:
            lines.append(f"{key}: {_flow(value)}")
    return _add(text, "clients", name, [*lines, *_lines({}, allow)])


def _flow(value: object) -> str:
    """Write a value on one line; JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)


def _add(text: str, section: str, name: str, lines: Sequence[str]) -> str:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        raise Invalid(
            "limen.yaml is not valid YAML.", remedy="Run `limen policy check` to see where."
        ) from None
    if not isinstance(root, yaml.MappingNode):
        raise Invalid("limen.yaml holds no mapping.", remedy="Start with `limen init`.")
    there = next((value for key, value in root.value if key.value == section), None)
    if there is None:
        return f"{text.rstrip()}\n\n{section}:\n{_entry(name, lines, 2)}"
    if isinstance(there, yaml.ScalarNode) and there.value in ("", "~", "null"):
        return _splice(text, there.start_mark.index, there.end_mark.index, _entry(name, lines, 2))
    if not isinstance(there, yaml.MappingNode):
        raise Invalid(
            f"limen.yaml: `{section}` is not a mapping.", remedy=f"Write {section} as `name: {{…}}`."
        )
    if any(key.value == name for key, _ in there.value):
        raise Conflict(
            f"limen.yaml: there is {_ONE[section]} '{name}' already.",
            remedy="Choose another name, or edit it there.",
        )
    if not there.value:
        return _splice(text, there.start_mark.index, there.end_mark.index, _entry(name, lines, 2))
    if there.flow_style:
        raise Invalid(
            f"limen.yaml: `{section}` is written on one line with braces.",
            remedy="Write each entry on a line of its own.",
        )
    last_key, last = there.value[-1]
    end = text.find("\n", _content_end(last, last_key.end_mark.index))
    head, rest = (text, "") if end < 0 else (text[:end], text[end + 1 :])
    return f"{head}\n{_entry(name, lines, there.value[0][0].start_mark.column)}{rest}"


def _content_end(node: yaml.Node, fallback: int) -> int:
    """Return where a node's last written character is; a block's own end mark lies after blank lines."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        key, value = node.value[-1]
        return _content_end(value, key.end_mark.index)
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _content_end(node.value[-1], fallback)
    return max(int(node.end_mark.index) - 1, fallback) if node.end_mark.index > fallback else fallback


def _splice(text: str, start: int, end: int, entry: str) -> str:
    line_end = text.find("\n", end)
    comment = text[end:] if line_end < 0 else text[end:line_end]
    rest = "" if line_end < 0 else text[line_end + 1 :]
    return f"{text[:start].rstrip()}{comment.rstrip()}\n{entry}{rest}"


def _lines(said: Mapping[str, str], allow: tuple[str, ...]) -> list[str]:
    lines = [f"{key}: {value}" for key, value in said.items()]
    return [*lines, f"allow: [{', '.join(allow)}]"] if allow else lines


def _entry(name: str, lines: Sequence[str], indent: int) -> str:
    return "".join(" " * indent + line + "\n" for line in (f"{name}:", *(f"  {line}" for line in lines)))
