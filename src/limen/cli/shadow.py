"""`limen shadow`: a candidate bundle beside the active one, decided on live traffic with no effect."""

from pathlib import Path
from typing import Annotated

import typer

from limen.cli.output import (
    JsonOption,
    ReasonOption,
    StateOption,
    connect,
    out,
    print_fields,
)
from limen.cli.policy_apply import print_applied
from limen.cli.replay import HtmlOption, parse_report, show_report

app = typer.Typer(no_args_is_help=True, help="A bundle in shadow: start, status, report, promote, stop.")


@app.command()
def start(
    folder: Annotated[Path, typer.Argument(help="The candidate's folder.")],
    state: StateOption = None,
    reason: ReasonOption = "",
) -> None:
    """Check a bundle, and decide live traffic by it too from now on, with no effect."""
    from limen.services.state import read_bundle

    answer = connect(state).post("/v1/shadow", {"files": read_bundle(folder), "reason": reason})
    out.print(f"The bundle {answer['bundle'][:12]} is in shadow. See `limen shadow report`.", markup=False)


@app.command()
def status(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show what is in shadow, what it has seen, how far it is behind, what it costs."""
    answer = connect(state).get("/v1/shadow")
    if not as_json:
        answer |= {"bundle": answer["bundle"][:12], "cpu_share": f"{answer['cpu_share']:.1%}"}
    print_fields(answer, as_json=as_json)


@app.command()
def report(state: StateOption = None, as_json: JsonOption = False, html: HtmlOption = None) -> None:
    """Say who would gain and who would lose, of all decisions since the shadow was started."""
    answer = connect(state).get("/v1/shadow/report")
    show_report(parse_report(answer), as_json=as_json, html=html, title="Shadow")


@app.command()
def promote(state: StateOption = None, reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """Apply the bundle in shadow, with all checks, and end the shadow.

    Exits with 4 where it is proposed, and waits for another administrator: the shadow goes on until then.
    """
    print_applied(connect(state).post("/v1/shadow/promote", {"reason": reason}), as_json=as_json)


@app.command()
def stop(state: StateOption = None, reason: ReasonOption = "") -> None:
    """End the shadow; what it found is gone with it."""
    connect(state).post("/v1/shadow/stop", {"reason": reason})
    out.print("The shadow is ended.", markup=False)
