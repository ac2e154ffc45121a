"""What control may have a gateway do: list its live streams, and end some."""

from collections.abc import Mapping
from typing import Any

import msgspec

from limen.administrator.feed_client import Work
from limen.administrator.streams import Cause, Ending, Streams
from limen.core.errors import Invalid

SELECTORS = ("subject", "session", "resource")
ENDED_BY_OPERATOR = "An administrator has ended this connection."


def stream_commands(streams: Streams) -> dict[str, Work]:
    """Return the commands `streams.list` and `streams.end` (`limen.administrator.feed_wire`)."""

    def listed(args: Mapping[str, Any]) -> list[dict[str, Any]]:
        return list(msgspec.to_builtins(streams.views(**_selection(args))))

    def ended(args: Mapping[str, Any]) -> dict[str, int]:
        reason = str(args.get("reason") or "")
        sentence = f"{ENDED_BY_OPERATOR[:-1]}: {reason}" if reason else ENDED_BY_OPERATOR
        ending = Ending(Cause.OPERATOR, sentence)
        return {"ended": sum(streams.end(stream_id, ending) for stream_id in _chosen(streams, args))}

    return {"streams.list": listed, "streams.end": ended}


def _chosen(streams: Streams, args: Mapping[str, Any]) -> tuple[str, ...]:
    if args.get("id"):
        return (str(args["id"]),)
    selection = _selection(args)
    if not selection:  # a slip of the tongue must not end everything
        raise Invalid(
            "streams.end names no stream.", remedy="Give an id, a subject, a session or a resource."
        )
    return tuple(stream.id for stream in streams.select(**selection))


def _selection(args: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(args[name]) for name in SELECTORS if args.get(name)}
