"""`limen db`: the database itself, while control runs or not. It reads LIMEN_DATABASE_URL as control does."""

import os
from pathlib import Path

import typer

from limen.cli.output import JsonOption, StateOption, out, print_fields

app = typer.Typer(no_args_is_help=True, help="The database: where it stands, and bringing it up to date.")


@app.command()
def status(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the database: product, version, schema, head, epoch, size."""
    from limen.store.status import inspect_database

    print_fields(inspect_database(_database(state)), as_json=as_json)


@app.command()
def migrate(state: StateOption = None) -> None:
    """Bring the schema up to this release, with control stopped. Back up first."""
    from limen.services.state import StateDir
    from limen.store.backend import URL_VARIABLE
    from limen.store.status import migrate_database

    database = _database(state)
    if os.environ.get(URL_VARIABLE, "").strip():
        before, after = migrate_database(database)
    else:
        with StateDir.find(state).lock("control"):
            before, after = migrate_database(database)
    if before == after:
        out.print(f"The database has schema {after} already.", markup=False)
    else:
        out.print(f"Migrated the database from schema {before or 'none'} to {after}.", markup=False)


def _database(state: Path | None) -> str | Path:
    """Return what control would open: the URL needs no state folder."""
    from limen.services.state import StateDir
    from limen.store.backend import URL_VARIABLE
    from limen.store.configured import store_url

    if os.environ.get(URL_VARIABLE, "").strip():
        return store_url(Path(), os.environ)
    return store_url(StateDir.find(state).database, os.environ)
