"""`limen protect`: add one app to the text of a `limen.yaml`, and leave every other byte as it is."""

import yaml

from limen.core.errors import Conflict, Invalid


def add_app(text: str, *, name: str, upstream: str, allow: tuple[str, ...]) -> str:
    """Return the text with the app added at the end of `apps`.

    Raises:
        Conflict: there is an app of that name.
        Invalid: the text is not YAML, or `apps` is not a mapping.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        raise Invalid(
            "limen.yaml is not valid YAML.", remedy="Run `limen policy check` to see where."
        ) from None
    if not isinstance(root, yaml.MappingNode):
        raise Invalid("limen.yaml holds no mapping.", remedy="Start with `limen init`.")
    apps = next((value for key, value in root.value if key.value == "apps"), None)
    if apps is None:
        return f"{text.rstrip()}\n\napps:\n{_entry(name, upstream, allow, 2)}"
    if isinstance(apps, yaml.ScalarNode) and apps.value in ("", "~", "null"):
        return _splice(text, apps.start_mark.index, apps.end_mark.index, _entry(name, upstream, allow, 2))
    if not isinstance(apps, yaml.MappingNode):
        raise Invalid("limen.yaml: `apps` is not a mapping.", remedy="Write apps as `name: {upstream: …}`.")
    if any(key.value == name for key, _ in apps.value):
        raise Conflict(
            f"limen.yaml: there is an app '{name}' already.",
            remedy="Choose another --name, or edit it there.",
        )
    if not apps.value:
        return _splice(text, apps.start_mark.index, apps.end_mark.index, _entry(name, upstream, allow, 2))
    if apps.flow_style:
        raise Invalid(
            "limen.yaml: `apps` is written on one line with braces.",
            remedy="Write each app on a line of its own.",
        )
    last_key, last = apps.value[-1]
    end = text.find("\n", _content_end(last, last_key.end_mark.index))
    head, rest = (text, "") if end < 0 else (text[:end], text[end + 1 :])
    return f"{head}\n{_entry(name, upstream, allow, apps.value[0][0].start_mark.column)}{rest}"


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


def _entry(name: str, upstream: str, allow: tuple[str, ...], indent: int) -> str:
    lines = [f"{name}:", f"  upstream: {upstream}"]
    if allow:
        lines.append(f"  allow: [{', '.join(allow)}]")
    return "".join(" " * indent + line + "\n" for line in lines)
