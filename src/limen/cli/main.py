"""`limen`: all commands, and the one place where errors become exit codes.

Exit codes: 0 done, 1 refused or failed (one sentence and a remedy on stderr), 2 wrong usage.
"""

import sys

import typer

from limen.cli import (
    audit,
    audit_export,
    audit_search,
    break_glass,
    clients,
    complaints,
    conformance,
    connect,
    db,
    decisions,
    events,
    gateways,
    governance,
    grants,
    groups,
    identity,
    notices,
    people,
    policy,
    recovery,
    replay,
    rollout,
    saml,
    scim,
    secrets,
    sessions,
    shadow,
    sources,
    start,
    streams,
    subject,
    token,
    workloads,
)
from limen.cli.output import print_error
from limen.core.errors import LimenError, Unavailable

app = typer.Typer(
    name="limen",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Zero-trust access: every request decided, every decision explained.",
)
start.register(app)
connect.register(app)
token.register(app)
gateways.register(start.gateway_app)
governance.register(app)
replay.register(app)
app.add_typer(people.app, name="user")
app.add_typer(groups.app, name="group")
app.add_typer(sources.app, name="source")
app.add_typer(identity.app, name="identity")
app.add_typer(saml.app, name="saml")
app.add_typer(scim.app, name="scim")
app.add_typer(grants.app, name="grant")
app.add_typer(policy.app, name="policy")
app.add_typer(sessions.app, name="session")
app.add_typer(streams.app, name="stream")
app.add_typer(decisions.app, name="decisions")
app.add_typer(complaints.app, name="complaint")
app.add_typer(rollout.app, name="rollout")
app.add_typer(shadow.app, name="shadow")
app.add_typer(events.app, name="event")
audit_export.register(audit.app)
audit_search.register(audit.app)
app.add_typer(audit.app, name="audit")
app.add_typer(subject.app, name="subject")
app.add_typer(secrets.app, name="secret")
app.add_typer(workloads.app, name="workload")
app.add_typer(clients.app, name="client")
app.add_typer(break_glass.app, name="break-glass")
app.add_typer(recovery.app, name="recovery")
app.add_typer(notices.app, name="notice")
app.add_typer(conformance.app, name="conformance")
app.add_typer(db.app, name="db")


def main() -> None:
    """Run the command line."""
    try:
        app()
    except LimenError as error:
        print_error(error)
        sys.exit(1)
    except ModuleNotFoundError as error:
        missing = explain_missing(error)
        if missing is None:
            raise
        print_error(missing)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        print_error(describe_os_error(error))
        sys.exit(1)


POSIX_MODULES = frozenset({"fcntl", "grp", "pwd", "resource", "termios"})


def explain_missing(error: ModuleNotFoundError) -> LimenError | None:
    """Return what to install for a command whose parts are not here; None for a fault of Limen's own.

    `pip install limen` brings the client alone: `login`, `logout`, `status`, `connect`.
    """
    name = (error.name or "").partition(".")[0]
    if name in POSIX_MODULES:
        return Unavailable("This command runs on Linux alone.", remedy="Run it on the machine of the system.")
    if not name or name == "limen":
        return None
    return Unavailable(
        f"This command needs the server's parts: {name} is not installed.",
        remedy="Install them: pip install 'limen[server]'",
        code="NO_SERVER_PARTS",
    )


def describe_os_error(error: OSError) -> LimenError:
    """Return what the machine refused, as a sentence: a folder that cannot be written, a full disk."""
    what = f"{error.filename}: " if error.filename else ""
    return LimenError(
        f"{what}{error.strerror or error}.", remedy="Check the path, its owner and the free space."
    )
