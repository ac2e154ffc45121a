"""`limen replay`: recorded decisions derived again, under their own bundle or another one."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from limen.cli.output import JsonOption, StateOption, connect, err, out, print_json
from limen.core.errors import Invalid

if TYPE_CHECKING:
    from limen.engine.replay_report import Report

HtmlOption = Annotated[Path | None, typer.Option("--html", help="Write one HTML file.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(replay)


def replay(
    files: Annotated[
        list[Path] | None, typer.Argument(help="With --from-log: the log files, .gz too.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="A candidate's folder. Else each decision's own bundle.")
    ] = None,
    since: Annotated[str, typer.Option(help="How far back: 30m, 12h, 7d.")] = "7d",
    state: StateOption = None,
    from_log: Annotated[
        str | None, typer.Option("--from-log", help="nginx or oauth2-proxy: read FILES and no journal.")
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="Of lines that name no host; or OLD=NEW for one that will be another."),
    ] = None,
    aal: Annotated[int, typer.Option("--suppose-aal", min=1, max=3, help="Of sign-ins no log tells of.")] = 2,
    passkey: Annotated[bool, typer.Option("--suppose-passkey", help="Suppose sign-ins by passkey.")] = False,
    as_json: JsonOption = False,
    html: HtmlOption = None,
) -> None:
    """Derive recorded decisions again: who would gain, who would lose; or whether all is as recorded."""
    if from_log is not None:
        from limen.cli.replay_logs import replay_logs

        report = replay_logs(from_log, files or [], bundle, state, hosts=host or [], aal=aal, passkey=passkey)
    else:
        if files:
            raise Invalid("FILES are for --from-log.", remedy="Write --from-log nginx FILE, or --bundle DIR.")
        report = _replay_journal(bundle, since, state)
    show_report(report, as_json=as_json, html=html, title="Replay")
    if report.mismatched:
        raise Invalid(
            f"{report.mismatched} decisions do not follow from what is stored about them.",
            remedy="Verify the journal with `limen audit verify`, and tell your security team.",
        )


def _replay_journal(bundle: Path | None, since: str, state: Path | None) -> "Report":
    from limen.cli.decisions import parse_duration
    from limen.services.state import read_bundle

    job: dict[str, Any] = {"since_s": parse_duration(since, "--since")}
    if bundle is not None:
        job["files"] = read_bundle(bundle)
    with progress_bar("decisions") as tell:
        for message in connect(state).follow("/v1/replay", method="POST", body=job):
            if message["type"] == "progress":
                tell(message["part"], message["decisions"])
            else:
                return parse_report(message)
    raise Invalid("The replay ended without a report.", remedy="Look at control's log, and try again.")


def parse_report(message: Any) -> "Report":
    """Return a report as the admin API sent it."""
    import msgspec

    from limen.engine.replay_report import Report

    return msgspec.convert(message, Report)


def show_report(report: "Report", *, as_json: bool, html: Path | None, title: str) -> None:
    """Print a report, or write it."""
    from limen.cli import replay_render

    if html is not None:
        from limen.journal.private_file import write_private

        write_private(html, replay_render.html(report, title).encode())
        err.print(f"Written to {html}.", markup=False)
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(report))
    elif html is None:
        for line in replay_render.lines(report):
            out.print(line, markup=False)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[float, int], None]]:
    """Yield what is told how far it is: the part, 0 to 1, and a count."""
    bar = Progress(
        TextColumn("{task.fields[count]:,} " + what),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=1.0, count=0)
        yield lambda part, count: bar.update(task, completed=part, count=count)
