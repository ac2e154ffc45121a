"""`limen`: all commands, and the one place where errors become exit codes.

Exit codes: 0 done, 1 refused or failed (one sentence and a remedy on stderr), 2 wrong usage.
"""

import sys

import typer

from limen.cli import decisions, groups, people, policy, secrets, sessions, start, token
from limen.cli.output import print_error
from limen.core.errors import LimenError

app = typer.Typer(
    name="limen",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Zero-trust access: every request decided, every decision explained.",
)
start.register(app)
token.register(app)
app.add_typer(people.app, name="user")
app.add_typer(groups.app, name="group")
app.add_typer(policy.app, name="policy")
app.add_typer(sessions.app, name="session")
app.add_typer(decisions.app, name="decisions")
app.add_typer(secrets.app, name="secret")


def main() -> None:
    """Run the command line."""
    try:
        app()
    except LimenError as error:
        print_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        print_error(describe_os_error(error))
        sys.exit(1)


def describe_os_error(error: OSError) -> LimenError:
    """Return what the machine refused, as a sentence: a folder that cannot be written, a full disk."""
    what = f"{error.filename}: " if error.filename else ""
    return LimenError(
        f"{what}{error.strerror or error}.", remedy="Check the path, its owner and the free space."
    )
