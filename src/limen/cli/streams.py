"""`limen stream`: every open connection at every gateway, and the end of it."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from limen.cli.output import (
    JsonOption,
    StateOption,
    WhyOption,
    connect,
    err,
    out,
    print_fields,
    print_json,
    print_rows,
    render_instant,
)

app = typer.Typer(no_args_is_help=True, help="Live streams: list, show, end.")

COLUMNS = {
    "STREAM": "id",
    "USER": "subject",
    "RESOURCE": "resource",
    "PROTOCOL": "protocol",
    "AGE": "age",
    "IN": "received",
    "OUT": "sent",
    "SESSION": "session",
    "FROM": "ip",
    "GATEWAY": "gateway",
}

UserOption = Annotated[str | None, typer.Option("--user", help="Only this person's.")]
SessionOption = Annotated[str | None, typer.Option("--session", help="Only this session's.")]
ResourceOption = Annotated[
    str | None, typer.Option("--resource", help="Only to this app, app/route or service.")
]


@app.command("list")
def list_streams(
    state: StateOption = None,
    user: UserOption = None,
    session: SessionOption = None,
    resource: ResourceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List live streams, oldest first. Bytes are as Envoy told last, at most some seconds ago."""
    answer = connect(state).get("/v1/streams", user=user, session=session, resource=resource)
    if as_json:
        print_json(answer)
        return
    rows = [_readable(row) for row in answer["streams"]]
    print_rows(rows, COLUMNS, as_json=False, empty="No live streams.")
    print_unanswered(answer["unanswered"])


@app.command()
def show(stream: str, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show one live stream: whose, to what, since when, until when at most."""
    row = connect(state).get(f"/v1/streams/{stream}")
    print_fields(row if as_json else _fields(row), as_json=as_json)


@app.command()
def end(
    reason: WhyOption,
    stream: Annotated[str | None, typer.Argument(help="The stream's id.")] = None,
    user: UserOption = None,
    session: SessionOption = None,
    resource: ResourceOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a live stream, or all of a person, session or resource. A new one is decided anew."""
    filtered = any((user, session, resource))
    if (stream is None) == (not filtered):
        raise typer.BadParameter("Name a stream, or whose: --user, --session, --resource.")
    client = connect(state)
    if stream is not None:
        answer = client.delete(f"/v1/streams/{stream}", reason=reason)
    else:
        answer = client.delete("/v1/streams", user=user, session=session, resource=resource, reason=reason)
    if as_json:
        print_json(answer)
        return
    word = "stream" if answer["ended"] == 1 else "streams"
    out.print(f"Ended {answer['ended']} {word}.", markup=False)
    print_unanswered(answer["unanswered"])


def print_unanswered(gateways: Sequence[dict[str, Any]]) -> None:
    """Say which gateways were not heard, so that a short list is not taken for the whole."""
    for one in gateways:
        err.print(f"{one['gateway']} did not answer: {one.get('message', '')}", style="yellow", markup=False)


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "age": render_age(row["age_s"]),
        "received": render_bytes(row["bytes_in"]),
        "sent": render_bytes(row["bytes_out"]),
    }


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    """Return what `show` says, in the order in which people ask."""
    told = f", as of {render_instant(row['bytes_at'])}" if row["bytes_at"] else ""
    return {
        "stream": row["id"],
        "user": row["subject"],
        "from": row["ip"],
        "session": row["session"],
        "resource": row["resource"],
        "action": row["action"],
        "protocol": row["protocol"],
        "address": f"{row['host']}{row['path']}",
        "gateway": row["gateway"],
        "opened": f"{render_instant(row['opened_at'])}, {render_age(row['age_s'])} ago",
        "received": f"{render_bytes(row['bytes_in'])}{told}",
        "sent": f"{render_bytes(row['bytes_out'])}{told}",
        "ends at latest": row["max_at"],
        "decided again": row["deadline_at"],
    }


def render_age(seconds: float) -> str:
    """Return an age as people read it: `42s`, `7m`, `3h12m`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def render_bytes(count: int) -> str:
    """Return a size in decimal units."""
    size, units = float(count), iter(("B", "kB", "MB", "GB"))
    unit = next(units)
    for larger in units:
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
