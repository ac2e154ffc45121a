"""`limen grant`: time-bound permits for one resource."""

from typing import Annotated

import typer

from limen.cli.decisions import parse_duration
from limen.cli.output import (
    JsonOption,
    StateOption,
    WhyOption,
    connect,
    out,
    parse_instant,
    print_json,
    print_rows,
    render_instant,
)
from limen.core.errors import Invalid

app = typer.Typer(no_args_is_help=True, help="Grants: add, revoke, list. Each ends by itself.")

COLUMNS = {
    "GRANT": "id",
    "TO": "to",
    "ON": "on",
    "ACTIONS": "actions",
    "ENDS": "expires_at",
    "BY": "actor",
    "REASON": "reason",
}


@app.command()
def add(
    to: Annotated[str, typer.Option(help="user:NAME or group:NAME.")],
    on: Annotated[str, typer.Option(help="An app, app/route, or a service.")],
    reason: WhyOption,
    action: Annotated[
        list[str] | None,
        typer.Option(help="read, write, admin or connect; repeat for more. Else what `allow:` gives."),
    ] = None,
    for_: Annotated[str | None, typer.Option("--for", help="How long: 30m, 8h, 7d; at most 90d.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Or until when: 2027-01-31, or 2027-01-31T18:00:00+01:00.")
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Permit a person or group something on one resource, for a time. Guardrails still bound it."""
    if (for_ is None) == (until is None):
        raise Invalid("grant add: say how long.", remedy="Give --for 8h, or --until 2027-01-31; not both.")
    body = {
        "to": to,
        "on": on,
        "actions": action or None,
        "for_s": parse_duration(for_, "--for") if for_ is not None else None,
        "expires_at": parse_instant(until, "--until"),
        "reason": reason,
    }
    grant = connect(state).post("/v1/grants", body)
    if as_json:
        print_json(grant)
        return
    may = " and ".join(grant["actions"])
    ends = render_instant(grant["expires_at"])
    out.print(f"{grant['id']}: {grant['to']} may {may} {grant['on']} until {ends}.", markup=False)


@app.command()
def revoke(
    grant: Annotated[str, typer.Argument(help="The grant's id.")],
    reason: WhyOption,
    state: StateOption = None,
) -> None:
    """End a grant now. Open connections that nothing else permits end with it."""
    connect(state).delete(f"/v1/grants/{grant}", reason=reason)
    out.print(f"Revoked {grant}.", markup=False)


@app.command("list")
def list_grants(
    state: StateOption = None,
    user: Annotated[
        str | None, typer.Option(help="Only those that reach this person, through groups too.")
    ] = None,
    resource: Annotated[str | None, typer.Option(help="Only those on this app, route or service.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Those too that ended in the last 90 days.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the grants in force, those that end first coming first."""
    rows = connect(state).get("/v1/grants", user=user, resource=resource, all=all_)
    print_rows(rows, COLUMNS, as_json=as_json, empty="No grant is in force." if not all_ else "No grants.")
