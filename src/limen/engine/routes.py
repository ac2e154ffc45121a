"""When two routes of an app can match the same request."""

from limen.core.catalogue import RouteConfig


def overlap(one: RouteConfig, other: RouteConfig) -> bool:
    """Return whether some request falls on both."""
    methods = not one.methods or not other.methods or bool({*one.methods} & {*other.methods})
    return methods and _paths_meet(one.path.split("/")[1:], other.path.split("/")[1:])


def _paths_meet(one: list[str], other: list[str]) -> bool:
    if one[:1] == ["**"] or other[:1] == ["**"]:
        return True
    if not one or not other:
        return not one and not other
    same = one[0] == other[0] or "*" in (one[0], other[0])
    return same and _paths_meet(one[1:], other[1:])
