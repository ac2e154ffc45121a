"""`limen recovery`: people who cannot sign in any more, and whose trust is lower after they came back."""

from typing import Annotated

import typer

from limen.cli.output import (
    JsonOption,
    ReasonOption,
    StateOption,
    WhyOption,
    connect,
    out,
    print_fields,
    print_json,
    print_rows,
)

app = typer.Typer(no_args_is_help=True, help="Recovery: who cannot sign in, approvals, lowered trust.")

CodeArgument = Annotated[str, typer.Argument(help="What the person read out, such as 7k3m-9xq2.")]
PersonArgument = Annotated[str, typer.Argument(help="The username.")]

UNDER_WAY = {
    "PERSON": "person",
    "NAME": "name",
    "STATE": "state",
    "ASKED": "asked_at",
    "FROM": "asked_from",
    "LINK": "mailed",
    "LAST IN": "signed_in_at",
    "SESSIONS": "live_sessions",
}
LOWERED = {"PERSON": "person", "CAME BACK": "at", "UNTIL": "until", "HOW": "how"}


@app.command("list")
def list_recoveries(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List who recovers at this moment."""
    rows = connect(state).get("/v1/recoveries")
    print_rows(rows, UNDER_WAY, as_json=as_json, empty="Nobody recovers at this moment.")


@app.command()
def show(code: CodeArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show who recovers under a code: look before you approve."""
    print_fields(connect(state).post("/v1/recoveries/look-up", {"code": code}), as_json=as_json)


@app.command()
def approve(
    code: CodeArgument, reason: WhyOption, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Approve a recovery, once you have made sure who they are."""
    found = connect(state).post("/v1/recoveries/approve", {"code": code, "reason": reason})
    if as_json:
        print_json(found)
    else:
        out.print(f"{found['person']} can go on now.", markup=False)


@app.command()
def stop(
    person: PersonArgument,
    state: StateOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Stop every recovery of a person that is under way."""
    found = connect(state).post(f"/v1/recoveries/{person}/stop", {"reason": reason})
    if as_json:
        print_json(found)
    else:
        out.print(f"Stopped {found['stopped']}.", markup=False)


@app.command()
def lowered(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List whose trust is lower because they came back by recovery (`recovered` in context.signals)."""
    rows = connect(state).get("/v1/recovered")
    print_rows(rows, LOWERED, as_json=as_json, empty="Nobody's trust is lowered.")


@app.command()
def restore(
    person: PersonArgument, reason: WhyOption, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """End the lowered trust in a person before its time."""
    found = connect(state).post(f"/v1/recovered/{person}/restore", {"reason": reason})
    if as_json:
        print_json(found)
    else:
        out.print(f"The trust in {found['person']} is restored.", markup=False)
