"""`limen policy plan|apply|proposals|approve|reject`: look, then put in force, by two hands if need be."""

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from limen.cli import plan_report
from limen.cli.decisions import parse_duration
from limen.cli.output import (
    JsonOption,
    ReasonOption,
    StateOption,
    WhyOption,
    connect,
    err,
    out,
    print_finding,
    print_json,
    print_rows,
    printable,
)
from limen.core.errors import Invalid, LimenError, NotFound, Refused

if TYPE_CHECKING:
    from limen.api.client import AdminClient

LOSES = 3  # exit code: somebody would lose access
REFUSED = 2  # exit code: the bundle is refused
PROPOSED = 4  # exit code: not in force; another administrator has to approve it
PREFIX_MIN = 6

FolderArgument = Annotated[Path | None, typer.Argument(help="The bundle's folder. Else this one, or above.")]
SinceOption = Annotated[str, typer.Option(help="How far back recorded decisions are replayed: 24h, 7d.")]
HashArgument = Annotated[str, typer.Argument(metavar="HASH", help="The bundle's id, or six digits of it.")]
PROPOSALS = {
    "BUNDLE": "bundle",
    "PROPOSED": "proposed_at",
    "BY": "actor",
    "STALE": "stale",
    "REASON": "reason",
}
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


class Format(StrEnum):
    """How a plan is printed."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (plan, apply, proposals, approve, reject):
        app.command()(command)


def read_files(folder: Path | None) -> dict[str, str]:
    """Return the files of a bundle's folder.

    Raises:
        NotFound: none was named, and none is here or above.
    """
    from limen.services.state import bundle_folder, read_bundle

    found = folder or bundle_folder(Path.cwd())
    if found is None:
        raise NotFound(
            "No limen.yaml here or above.", remedy="Name the bundle's folder, or run `limen init`."
        )
    return read_bundle(found)


def plan(
    folder: FolderArgument = None,
    since: SinceOption = "7d",
    no_replay: Annotated[bool, typer.Option("--no-replay", help="By the directory alone.")] = False,
    shown: Annotated[Format, typer.Option("--format", help="text, markdown or json.")] = Format.TEXT,
    state: StateOption = None,
) -> None:
    """Say who would gain and who lose access. Exits with 0: nobody loses; 3: somebody does; 2: refused."""
    files = read_files(folder)
    found = make_plan(connect(state), files, since=None if no_replay else since)
    print_plan(found, shown)
    raise typer.Exit(REFUSED if found["refused"] else LOSES if found["loses"] else 0)


def apply(
    folder: FolderArgument = None,
    state: StateOption = None,
    reason: ReasonOption = "",
    yes: YesOption = False,
    no_plan: Annotated[bool, typer.Option("--no-plan", help="Make no plan, and do not ask.")] = False,
    since: SinceOption = "7d",
    base: Annotated[
        str, typer.Option(metavar="HASH", help="Refuse unless this bundle is active: the plan's `base`.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Show the plan, ask, and make a bundle the active one in one atomic change.

    Without a terminal nothing is asked: then it is applied if nobody loses access, or with --yes.
    Exits with 4 where it is proposed, and waits for another administrator.
    """
    files, client = read_files(folder), connect(state)
    if not no_plan:
        found = make_plan(client, files, since=since)
        if not found["refused"] and found["bundle"] != found["base"]:
            if base and base != found["base"]:
                raise Refused(f"The active bundle is {found['base'][:12]}.", remedy="Look at a new plan.")
            base = found["base"]
            agree(found, yes=yes, as_json=as_json)
    body = {"files": files, "reason": reason, "base": base}
    print_applied(client.post("/v1/policy/apply", body), as_json=as_json)


def proposals(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the bundles that wait for another administrator."""
    rows = connect(state).get("/v1/policy/proposals")
    if not as_json:
        rows = [{**row, "bundle": row["bundle"][:12]} for row in rows]
    print_rows(rows, PROPOSALS, as_json=as_json, empty="No bundle is proposed.")


def approve(
    bundle: HashArgument,
    reason: WhyOption,
    state: StateOption = None,
    yes: YesOption = False,
    since: SinceOption = "7d",
    as_json: JsonOption = False,
) -> None:
    """Show the plan of a proposed bundle, ask, and put exactly that in force. Not one's own."""
    client = connect(state)
    proposal = client.get(f"/v1/policy/proposals/{find_proposal(client, bundle)}")
    found = make_plan(client, proposal["files"], since=since)
    if found["refused"]:
        print_plan(found, Format.TEXT)
        raise typer.Exit(REFUSED)
    if not as_json:
        why = proposal["reason"] or "no reason given"
        out.print(printable(f"Proposed by {proposal['actor']}: {why}."), markup=False)
    agree(found, yes=yes, as_json=as_json)
    answer = client.post(f"/v1/policy/proposals/{proposal['bundle']}/approve", {"reason": reason})
    print_applied(answer, as_json=as_json)


def reject(bundle: HashArgument, reason: WhyOption, state: StateOption = None) -> None:
    """Forget a proposed bundle."""
    client = connect(state)
    found = find_proposal(client, bundle)
    client.post(f"/v1/policy/proposals/{found}/reject", {"reason": reason})
    out.print(f"Rejected {found[:12]}.", markup=False)


# --- steps -----------------------------------------------------------------------------------------


def make_plan(client: "AdminClient", files: Mapping[str, str], *, since: str | None) -> Mapping[str, Any]:
    """Have a plan made, with a progress bar where there is a terminal. `since` None: without a replay."""
    body: dict[str, Any] = {"files": dict(files), "replay": since is not None}
    if since is not None:
        body["since_s"] = parse_duration(since, "--since")
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("plan", total=None)
        for line in client.follow("/v1/policy/plan", method="POST", body=body):
            if "plan" in line:
                found: Mapping[str, Any] = line["plan"]
                return found
            step = line["step"]
            bar.update(task, description=step["stage"], completed=step["done"], total=step["of"] or None)
    raise LimenError("The plan ended early.", remedy="Look at control's log, and try again.")


def print_plan(found: Mapping[str, Any], shown: Format) -> None:
    """Print a plan."""
    if shown is Format.JSON:
        print_json(found)
        return
    if shown is Format.MARKDOWN:
        out.print(plan_report.render_markdown(found), markup=False, end="")
        return
    for finding in (*found["refused"], *found["findings"]):
        print_finding(finding)
    for line in plan_report.render_text(found):
        out.print(printable(line), markup=False)  # whoever proposed it wrote some of this


def agree(found: Mapping[str, Any], *, yes: bool, as_json: bool) -> None:
    """Show a plan and ask.

    Raises:
        Refused: nobody can be asked, and somebody would lose access.
        typer.Exit: the answer was no.
    """
    if not as_json:
        print_plan(found, Format.TEXT)
    if yes:
        return
    if sys.stdin.isatty() and not as_json:
        if not typer.confirm("Apply it?", default=False):
            raise typer.Exit(1)
        return
    if found["loses"]:
        said = "limen: Somebody would lose access, and nobody can be asked here."
        err.print(said, style="red", markup=False)
        err.print("       Look at the plan; then apply it with --yes.", markup=False)
        raise typer.Exit(LOSES)


def print_applied(answer: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what became of a bundle, its warnings first; leave with `PROPOSED` if it is not in force."""
    for finding in answer["findings"]:
        print_finding(finding)
    name = answer["bundle"][:12]
    if as_json:
        print_json(answer)
    elif answer["proposed"]:
        out.print(f"Proposed {name}, not applied: {'; '.join(answer['guarded'])}.", markup=False)
        out.print(f"Another administrator approves it: limen policy approve {name}", markup=False)
    elif answer["changed"]:
        out.print(f"Applied {name} as serial {answer['serial']}.", markup=False)
    else:
        out.print(f"{name} is already the active bundle.", markup=False)
    if answer["proposed"]:
        raise typer.Exit(PROPOSED)


def find_proposal(client: "AdminClient", prefix: str) -> str:
    """Return the one proposed bundle whose id begins so.

    Raises:
        NotFound, Invalid: there is none, or several, or the digits are too few.
    """
    if len(prefix) < PREFIX_MIN:
        raise Invalid(f"{prefix!r} is too short for an id.", remedy=f"Give at least {PREFIX_MIN} digits.")
    found = [row["bundle"] for row in client.get("/v1/policy/proposals") if row["bundle"].startswith(prefix)]
    if len(found) != 1:
        many = "Several bundles" if found else "No bundle"
        raise NotFound(f"{many} of id {prefix[:64]!r} proposed.", remedy="See `limen policy proposals`.")
    return str(found[0])
