"""`limen conformance`: the proof that connections end when their reason does, for anybody to run."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from limen.cli.output import JsonOption, err, out, print_json, print_rows

app = typer.Typer(no_args_is_help=True, help="Proof, measured on a system: revocation.")

ROWS = {
    "CHANGE": "change",
    "CONNECTION": "kind",
    "CUT": "cut",
    "P50": "p50",
    "P99": "p99",
    "MAX": "max",
    "STALE": "stale",
    "INNOCENTS": "innocents",
    "": "verdict",
}
UNTOUCHED = {
    "HOUSEKEEPING": "housekeeping",
    "STREAMS": "streams",
    "CUT": "cut",
    "REQUESTS": "requests",
    "P99": "p99",
    "SLOWEST": "slowest",
    "": "verdict",
}


@app.callback()
def group() -> None:
    """Proof, measured on a system."""


@app.command()
def revoke(
    gateways: Annotated[int, typer.Option(help="Gateways of the private system.", min=1, max=8)] = 1,
    streams: Annotated[int, typer.Option(help="Streams of other people, open throughout.", min=0)] = 1000,
    state: Annotated[
        Path | None,
        typer.Option(help="A running system's state folder, instead of a private system. Its bundle gets one "
                          "app and one service for the time of the run."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before changing a running system.")] = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Open streams of every kind, make every kind of change, and see what ends, when, and what else does."""
    from limen.services.conformance.command import revoke_private, revoke_running
    from limen.services.conformance.report import render_rows, render_untouched

    def say(line: str) -> None:
        err.print(line, markup=False)

    if state is None:
        report = revoke_private(gateways, streams, say)
    else:
        if not yes:
            typer.confirm(
                f"This applies bundles with a few more apps and services to the system of {state}, adds "
                "people named limen-conformance-…, and takes both out again. Go on?",
                abort=True,
            )
        report = revoke_running(state, streams, say)
    if as_json:
        import msgspec

        print_json({**msgspec.to_builtins(report), "good": report.good})
    else:
        print_rows(render_rows(report), ROWS, as_json=False, empty="No change was made.")
        out.print()
        print_rows(render_untouched(report), UNTOUCHED, as_json=False, empty="No housekeeping was done.")
        if report.meanwhile_p99_ms is not None:
            out.print(
                f"\nOther people's requests while everything was cut: p99 {report.meanwhile_p99_ms:.1f} ms.",
                markup=False,
            )
        said = "Everything ended that had to, and nothing else." if report.good else "THE PROMISE IS BROKEN."
        out.print(f"{said} {report.took_s:.0f} s.", markup=False)
    if not report.good:
        sys.exit(1)
