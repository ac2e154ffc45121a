"""`limen policy`: check, test, show, explain, ask who can, roll back. `policy_apply` has plan and apply."""

import sys
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from limen.cli import policy_apply
from limen.cli.output import (
    JsonOption,
    ReasonOption,
    StateOption,
    connect,
    err,
    out,
    print_finding,
    print_json,
    print_rows,
)
from limen.cli.policy_apply import FolderArgument, read_files
from limen.core.errors import Invalid, Severity

app = typer.Typer(no_args_is_help=True, help="Policies: check, test, show, explain, who can, plan, apply.")
policy_apply.register(app)


@app.command()
def check(folder: FolderArgument = None, as_json: JsonOption = False) -> None:
    """Check a bundle: form, schema, lint, tests. Needs no running system."""
    from limen.engine.check import check_bundle

    report = check_bundle(read_files(folder))
    failed = [result for result in report.results if not result.passed]
    if as_json:
        print_json(
            {
                "ok": report.ok,
                "bundle": report.bundle.id if report.bundle else None,
                "findings": [_plain(finding) for finding in report.findings],
                "tests": {"passed": len(report.results) - len(failed), "failed": len(failed)},
                "failures": [_plain(result) for result in failed],
            }
        )
    else:
        for finding in report.findings:
            print_finding(finding)
        for result in failed:
            err.print(f"test failed: {result.name}: {result.why}", markup=False)
    errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
    if not report.ok:
        raise Invalid(
            f"The bundle is refused: {errors} errors, {len(failed)} failed tests.",
            remedy="Mend what is listed above.",
        )
    if not as_json:
        assert report.bundle is not None
        counts = f"{len(report.bundle.policies)} policies, {len(report.results)} tests passed"
        out.print(
            f"The bundle is good: {counts}, {len(report.findings)} warnings. Id: {report.bundle.id[:12]}.",
            markup=False,
        )


@app.command()
def test(folder: FolderArgument = None, as_json: JsonOption = False) -> None:
    """Run a bundle's tests, and print what differs."""
    from limen.engine.bundle import parse_bundle
    from limen.engine.bundle_tests import run_tests

    results = run_tests(parse_bundle(read_files(folder)))
    rows = [_plain(result) for result in results]
    failed = [row for row in rows if not row["passed"]]
    columns = {"TEST": "name", "FILE": "file", "LINE": "line", "WHY": "why"}
    if as_json:
        print_json(rows)
    else:
        print_rows(failed, columns, as_json=False, empty=f"{len(rows)} tests passed.")
    if failed:
        raise Invalid(f"{len(failed)} of {len(rows)} tests failed.", remedy="Mend the policy, or the test.")


@app.command()
def show(folder: FolderArgument = None, as_json: JsonOption = False) -> None:
    """Print every policy of a bundle as Cedar, the short forms of `allow:` written out."""
    from limen.engine.bundle import parse_bundle

    bundle = parse_bundle(read_files(folder))
    if as_json:
        print_json([_plain(policy) for policy in bundle.policies])
        return
    for policy in bundle.policies:
        out.print(f"// {policy.layer}, {policy.file}:{policy.line}", markup=False)
        out.print(policy.cedar.strip() + "\n", markup=False)


@app.command()
def explain(
    subject: Annotated[str, typer.Argument(help="A username.")],
    action: Annotated[str, typer.Argument(help="read, write, admin; connect for a service.")],
    resource: Annotated[str, typer.Argument(help="An app, app/route, or a service.")],
    state: StateOption = None,
    aal: Annotated[
        int, typer.Option(min=0, max=3, help="Assurance level of the sign-in; 0 is no session.")
    ] = 2,
    passkey: Annotated[bool, typer.Option(help="Signed in with a passkey.")] = False,
    auth_age: Annotated[str, typer.Option(help="How long ago they signed in: 5m, 2h.")] = "5m",
    ip: Annotated[str, typer.Option(help="The address they come from.")] = "127.0.0.1",
    as_json: JsonOption = False,
) -> None:
    """Say what would be decided for a person now, why, and what would change it."""
    from limen.cli.decisions import parse_duration

    answer = connect(state).post(
        "/v1/policy/explain",
        {
            "subject": subject,
            "action": action,
            "resource": resource,
            "aal": aal,
            "passkey": passkey,
            "auth_age_s": parse_duration(auth_age, "--auth-age"),
            "ip": ip,
        },
    )
    if as_json:
        print_json(answer)
        return
    policies = ", ".join(answer["policies"]) or "no policy"
    out.print(f"{answer['verdict']} ({answer['code']}; {policies})", markup=False)
    for reason in answer["reasons"]:
        out.print(f"  because: {reason}", markup=False)
    for remedy in answer["remedies"]:
        out.print(f"  cure: {remedy['id']}: {remedy['sentence']}", markup=False)
    if answer["verdict"] == "deny" and not answer["remedies"] and answer["owner"]:
        out.print(f"  owner: {answer['owner']}", markup=False)


@app.command("who-can")
def who_can(
    action: Annotated[str, typer.Argument(help="read, write, admin; connect for a service.")],
    resource: Annotated[
        str, typer.Argument(help="An app, app/route, a service, or `*` for all that have the action.")
    ],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List who may do something, and under which conditions."""
    from limen.core.resources import ACTIONS_ON

    client = connect(state)
    resources = [resource]
    if resource == "*":
        rows = client.get("/v1/resources")
        resources = [row["id"] for row in rows if action in ACTIONS_ON[row["type"]]]
    answers = []
    with _progress(len(resources)) as advance:
        for name in resources:
            answers.append(client.post("/v1/policy/who-can", {"action": action, "resource": name}))
            advance()
    if as_json:
        print_json(answers if resource == "*" else answers[0])
        return
    for answer in answers:
        out.print(
            f"{action} {answer['resource']}: {answer['count']} of {answer['people']} people", markup=False
        )
        for group in answer["classes"]:
            condition = " and ".join(group["conditions"]) or "always"
            shown = ", ".join(group["members"][:8]) + (" …" if len(group["members"]) > 8 else "")
            by = ", ".join(group["policies"])
            out.print(f"  {len(group['members']):>6}  {condition}: {shown} ({by})", markup=False)


@app.command()
def history(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the bundles that were active."""
    rows = connect(state).get("/v1/policy/history")
    columns = {
        "SERIAL": "serial",
        "BUNDLE": "id",
        "APPLIED": "applied_at",
        "BY": "actor",
        "REASON": "reason",
    }
    if not as_json:
        rows = [{**row, "id": row["id"][:12]} for row in rows]
    print_rows(rows, columns, as_json=as_json, empty="No bundle was applied yet.")


@app.command()
def rollback(
    serial: Annotated[int, typer.Argument(help="The serial of `limen policy history`.")],
    state: StateOption = None,
    reason: ReasonOption = "",
) -> None:
    """Make an earlier bundle the active one again. It is checked like any other."""
    answer = connect(state).post("/v1/policy/rollback", {"serial": serial, "reason": reason})
    policy_apply.print_applied(answer, as_json=False)


def _plain(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)


class _progress:  # noqa: N801  a context manager read as a verb
    """A progress bar on stderr, where there is a terminal and more than one step."""

    def __init__(self, total: int) -> None:
        self._bar = Progress(
            TextColumn("resources"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=err,
            disable=total < 2 or not sys.stderr.isatty(),
        )
        self._total = total

    def __enter__(self) -> Any:
        self._bar.start()
        task = self._bar.add_task("", total=self._total)
        return lambda: self._bar.advance(task)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
