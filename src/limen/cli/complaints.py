"""`limen complaint`: what people say is wrong with decisions about them, and the answers."""

from typing import Annotated

import typer

from limen.cli.output import JsonOption, StateOption, connect, out, print_rows

app = typer.Typer(no_args_is_help=True, help='Complaints: what people say of denials ("this is wrong").')

COLUMNS = {
    "COMPLAINT": "id",
    "AT": "at",
    "PERSON": "person",
    "ON": "resource",
    "OWNER": "owner",
    "TEXT": "text",
    "ANSWER": "answer",
    "DECISION": "decision",
}


@app.command("list")
def list_complaints(
    state: StateOption = None,
    user: Annotated[str | None, typer.Option(help="Only those of this person.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only those on what this person looks after.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Those too that were answered.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what people say is wrong, the newest first."""
    rows = connect(state).get("/v1/complaints", person=user, owner=owner, waiting=not all_)
    print_rows(rows, COLUMNS, as_json=as_json, empty="Nobody waits for an answer.")


@app.command()
def answer(
    complaint: Annotated[str, typer.Argument(help="The complaint's id.")],
    text: Annotated[str, typer.Option(help="What the person is told.")],
    state: StateOption = None,
) -> None:
    """Answer a complaint. The person reads it on their page of sessions and keys."""
    found = connect(state).post(f"/v1/complaints/{complaint}/answer", {"text": text})
    out.print(f"Answered {found['person']} about {found['resource']}.", markup=False)
