"""`limen audit`: is the log whole, and proof of it for others. Reads the state folder; nothing need run.

`audit_search` and `audit_export` add their commands to this program by their `register`.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from limen.cli.output import (
    JsonOption,
    StateOption,
    err,
    out,
    print_json,
    print_rows,
    printable,
    render_instant,
)  # fmt: skip
from limen.core.errors import Invalid, NotFound

if TYPE_CHECKING:
    from limen.journal.findings import Doubt, NodeReport, Report, Unchecked
    from limen.journal.note import VerifierKey
    from limen.journal.statements import Places, Trust

app = typer.Typer(no_args_is_help=True, help="The log: verify it, prove records, search and export it.")

KeyOption = Annotated[
    list[str] | None,
    typer.Option("--key", help="A verifier key that you keep elsewhere: control's, or a node's. Repeatable."),
]
WitnessOption = Annotated[
    Path | None, typer.Option("--witness", help="The witness folder: a second place for checkpoints.")
]


@app.command()
def verify(
    state: StateOption = None,
    since: Annotated[
        Path | None, typer.Option("--since", help="A checkpoint that you kept: only what is newer is read.")
    ] = None,
    key: KeyOption = None,
    witness: WitnessOption = None,
    node: Annotated[list[str] | None, typer.Option("--node", help="Only this node. Repeatable.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify that nothing recorded was changed, moved or removed. Exits 1 on any doubt."""
    import msgspec

    from limen.journal.verify import total_bytes, verify_journals

    places, trust = _find(state, key, witness, since)
    columns = (TextColumn("verifying"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=total_bytes(places))
        nodes = frozenset(node) if node else None
        report = verify_journals(places, trust, progress=lambda n: bar.advance(task, n), nodes=nodes)
    if as_json:
        print_json(msgspec.to_builtins(report))
    else:
        _print_report(report)
    if not report.whole:
        problems = "1 doubt" if len(report.doubts) == 1 else f"{len(report.doubts)} doubts"
        raise Invalid(
            f"The log cannot be vouched for: {problems}.",
            remedy="Keep the folder as it is, and tell your security team.",
            code="AUDIT_DOUBT",
        )


@app.command()
def prove(
    record: Annotated[str, typer.Argument(help="Id of a decision or an event.")],
    state: StateOption = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="Write the proof here instead of printing it.")
    ] = None,
    outcome: Annotated[bool, typer.Option("--outcome", help="Of a decision: prove its outcome.")] = False,
    key: KeyOption = None,
) -> None:
    """Prove to others that a record stands in the log: they need the proof and the public key alone."""
    import msgspec

    from limen.journal.proving import prove as make_proof

    places, trust = _find(state, key, None, None)
    proof = make_proof(record, places, trust, outcome=outcome)
    text = msgspec.json.format(msgspec.json.encode(proof)).decode()
    if to is not None:
        to.write_text(text + "\n", "utf-8")
        out.print(f"wrote {to}", markup=False)
    else:
        typer.echo(text)
    if not proof.countersigned:
        err.print(
            "Control has not countersigned this yet: it is proven by the node's key alone.", markup=False
        )


@app.command("key")
def show_keys(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Print the verifier keys of control and of the nodes. Keep them where this machine cannot write."""
    from limen.journal.statements import gather
    from limen.journal.verify import known_nodes

    places, trust = _find(state, None, None, None)
    rows = []
    if trust.cosigner is not None:
        rows.append({"who": "control (countersigns)", "key": str(trust.cosigner), "vouched": True})
    for node in known_nodes(places):
        found = gather(node, places, trust)
        if found.key is not None:
            rows.append({"who": node, "key": str(found.key), "vouched": found.vouched})
    columns = {"WHO": "who", "VOUCHED": "vouched", "KEY": "key"}
    print_rows(rows, columns, as_json=as_json, empty="No key was made yet.")


# --- what they read -----------------------------------------------------------------------------------


def _find(
    state: Path | None, keys: list[str] | None, witness: Path | None, since: Path | None
) -> "tuple[Places, Trust]":
    """Return where to read, and whom to believe."""
    from limen.journal.note import Algorithm, VerifierKey
    from limen.journal.statements import Places, Trust

    for name, path in (("--witness", witness), ("--since", since)):
        if path is not None and not path.exists():
            raise NotFound(f"{name}: {path} does not exist.", remedy="Check the path.")
    root = _root(state)
    given = [VerifierKey.parse(text) for text in keys or ()]
    cosigner = next((key for key in given if key.algorithm is Algorithm.COSIGNATURE), None)
    nodes = {key.name.rpartition("/")[2]: key for key in given if key.algorithm is Algorithm.ED25519}
    places = Places(root / "journal", root / "checkpoints", witness, since)
    return places, Trust(cosigner or _own_cosigner(root, witness), nodes)


def _root(state: Path | None) -> Path:
    """Return the state folder; a copy of one needs no keys."""
    from limen.services.state import StateDir

    if state is not None and (state / "journal").is_dir():
        return state.resolve()
    return StateDir.find(state).root


def _own_cosigner(root: Path, witness: Path | None) -> "VerifierKey | None":
    """Return control's key as the state folder knows it: its own key, else what stands beside the notes."""
    from limen.journal.checkpoints import COUNTERSIGNER_KEY, KEY_FILE
    from limen.journal.note import Algorithm, Signer, VerifierKey

    private = root / "keys" / COUNTERSIGNER_KEY
    if private.exists():
        return Signer.load(private, "").key(Algorithm.COSIGNATURE)
    for folder in (root / "checkpoints", witness):
        if folder is not None and (folder / KEY_FILE).exists():
            return VerifierKey.parse((folder / KEY_FILE).read_text("utf-8").strip())
    return None


# --- how it is told -----------------------------------------------------------------------------------


def _print_report(report: "Report") -> None:
    for node in report.nodes:
        out.print(printable(_describe(node)), markup=False)
    for one in report.unchecked:
        out.print(printable(f"not checked: {_describe_unchecked(one)}"), markup=False)
    for doubt in report.doubts:
        err.print(printable(f"doubt: {_describe_doubt(doubt)}"), style="red", markup=False)
    if report.whole:
        records = sum(node.records for node in report.nodes)
        out.print(f"The log is whole: {records} records of {len(report.nodes)} nodes.", markup=False)


def _describe(node: "NodeReport") -> str:
    text = f"{node.node}: {node.records} records, {node.boots} boots, {node.segments} segments"
    if node.countersigned_at is None:
        return f"{text}; nothing of it is countersigned"
    return (
        f"{text}; countersigned to record {node.countersigned_size} of boot {node.boot}, "
        + render_instant(node.countersigned_at)
    )


def _describe_unchecked(one: "Unchecked") -> str:
    count = f" {one.records} records" if one.records is not None else ""
    since = f", since {render_instant(one.since)}" if one.since is not None else ""
    return f"{one.node}: {one.what}:{count}{since}. {one.text}"


def _describe_doubt(doubt: "Doubt") -> str:
    place = f" boot {doubt.boot}" if doubt.boot else ""
    if doubt.position is not None:
        last = doubt.until - 1 if doubt.until is not None else doubt.position
        place += (
            f" records {doubt.position} to {last}" if last > doubt.position else f" record {doubt.position}"
        )
    named = f" ({', '.join(doubt.records)})" if doubt.records else ""
    return f"{doubt.node or 'the system'}{place}{named}: {doubt.problem}: {doubt.text}"
