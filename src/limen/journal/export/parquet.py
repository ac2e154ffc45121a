"""Rows as Parquet, by DuckDB: through a file of JSON lines beside it, so that memory stays constant."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from limen.core.errors import Invalid
from limen.journal.export.formats import COLUMNS, flatten
from limen.journal.export.rows import Row
from limen.journal.export.text import render_json

MEMORY_MAX = "512MB"


def write_parquet(rows: Iterable[Row], file: Path) -> None:
    """Write rows to a new Parquet file, zstd, atomically: it is whole or not there.

    Raises:
        Invalid: DuckDB could not write it.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix=".limen-export-", dir=file.parent) as folder:
        lines, made = Path(folder) / "rows.jsonl", Path(folder) / "rows.parquet"
        with lines.open("wb") as out:
            out.writelines(render_json(flatten(row)) + b"\n" for row in rows)
        types = ", ".join(f"'{name}': '{kind}'" for name, kind in COLUMNS.items())
        source = f"read_json($lines, format='newline_delimited', columns={{{types}}})"
        try:
            with duckdb.connect(config={"memory_limit": MEMORY_MAX, "temp_directory": folder}) as database:
                database.execute("SET preserve_insertion_order = true")
                database.execute(
                    f"COPY (SELECT * FROM {source}) TO '{_quoted(made)}' (FORMAT parquet, COMPRESSION zstd)",  # noqa: S608
                    {"lines": str(lines)},
                )
        except duckdb.Error as error:
            raise Invalid(f"{file} could not be written: {error}", remedy="Use --format jsonl.") from error
        made.chmod(0o600)
        made.replace(file)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
