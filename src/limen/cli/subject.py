"""`limen subject`: all that is held about a person, told to them or erased."""

import json
from pathlib import Path
from typing import Annotated

import typer

from limen.cli.output import JsonOption, StateOption, WhyOption, connect, out, print_fields, print_json

app = typer.Typer(no_args_is_help=True, help="What is held about a person: export it, erase it.")


@app.command()
def export(
    person: str,
    to: Annotated[Path | None, typer.Option("--out", help="A new file, readable by its owner alone.")] = None,
    state: StateOption = None,
) -> None:
    """Export what is held about a person, as JSON: directory, sessions, grants, every record of theirs."""
    found = connect(state).get("/v1/subject", person=person)
    if to is None:
        print_json(found)
        return
    to.touch(mode=0o600, exist_ok=False)
    to.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    out.print(f"{len(found['records'])} records and what the directory holds: {to}", markup=False)


@app.command()
def erase(person: str, reason: WhyOption, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Erase a person who has ended. The journal and its proofs stay; whom it tells of, nobody can read.

    For good: neither Limen nor a backup of the journal brings it back, unless that holds keys.db too.
    Gateways of other machines that are away are named (pending): they erase when they come back.
    """
    erased = connect(state).post("/v1/subject/erase", {"person": person, "reason": reason})
    print_fields(erased, as_json=as_json)
