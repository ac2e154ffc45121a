"""`limen notice`: what waits to be sent to people, and a test."""

from typing import Annotated

import typer

from limen.cli.output import JsonOption, ReasonOption, StateOption, connect, out, print_json, print_rows

app = typer.Typer(no_args_is_help=True, help="Notices: mail and webhooks that wait to be sent.")

COLUMNS = {
    "NOTICE": "id",
    "BY": "channel",
    "TO": "person",
    "ABOUT": "kind",
    "QUEUED": "queued_at",
    "NEXT": "next_at",
    "TRIED": "attempts",
    "ERROR": "error",
}


@app.command("list")
def list_waiting(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List what waits, the oldest first, and why it was not sent yet."""
    print_rows(connect(state).get("/v1/notices"), COLUMNS, as_json=as_json, empty="Nothing waits.")


@app.command()
def test(
    person: Annotated[str, typer.Argument(help="Whom to send it to.")],
    state: StateOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send a test. `limen notice list` then says whether it went."""
    found = connect(state).post("/v1/notices/test", {"person": person, "reason": reason})
    if as_json:
        print_json(found)
    else:
        out.print(f"Queued for {', '.join(found['channels'])}.", markup=False)
