"""`journal:` in `limen.yaml`: how journals are kept, on every node."""

from collections.abc import Mapping
from typing import Any

from limen.core.catalogue import JournalConfig
from limen.engine import rules
from limen.engine.forms import Choice, Duration, Flag, Key, Size, Table, Text
from limen.engine.read_forms import Log, Path

BUFFER_MAX_BYTES = 2 * 2**30  # memory of a brain, of which there are two while one is upgraded
BUFFER_MIN_BYTES = 2**20
JOURNAL_MAX_BYTES = 100 * 10**12
JOURNAL_MIN_BYTES = 256 * 2**20  # four segments: fewer would be removed about as fast as they are written
KEEP_MIN_S = 86_400  # a day: less is a slip of the finger, and removes what cannot be had again

_USUAL = JournalConfig()

JOURNAL = Table(
    {
        "on_full": Key(
            Choice(("deny", "buffer")),
            "When the disk is full: `deny` allows nothing that cannot be recorded, `buffer` keeps records in "
            "memory first.",
            _USUAL.on_full,
        ),
        "buffer": Key(Size(BUFFER_MAX_BYTES), "How much of them, with `on_full: buffer`.", "64MiB"),
        "sync": Key(Flag(), "Each record is on the disk before its answer leaves.", "false: each second"),
        "keep": Key(
            Table(
                {
                    "decisions": Key(Duration(), "Decisions and their outcomes: `90d`.", "for ever"),
                    "events": Key(Duration(), "Events: sign-ins, changes, ends of streams.", "for ever"),
                }
            ),
            "How long records are kept.",
            "for ever",
        ),
        "bytes_max": Key(
            Size(JOURNAL_MAX_BYTES), "How much of the disk sealed segments of a node may have.", "no bound"
        ),
        "compact": Key(Flag(), "Sealed segments become Parquet.", "true"),
        "witness": Key(
            Text(rules.ABSOLUTE_PATH),
            "A folder on control's machine that gets a copy of each countersigned checkpoint.",
            "none",
        ),
    }
)


def read_journal(tree: Mapping[str, Any], log: Log) -> JournalConfig:
    """Return what `journal:` says; note what it cannot mean."""
    keep_s = {name: float(seconds) for name, seconds in tree.get("keep", {}).items()}
    config = JournalConfig(
        on_full=tree.get("on_full", _USUAL.on_full),
        buffer_bytes=tree.get("buffer", _USUAL.buffer_bytes),
        sync=tree.get("sync", _USUAL.sync),
        keep_s=keep_s,
        bytes_max=tree.get("bytes_max"),
        compact=tree.get("compact", _USUAL.compact),
        witness=tree.get("witness", _USUAL.witness),
    )
    if "buffer" in tree and config.on_full != "buffer":
        said = "`journal.buffer` has no effect without `on_full: buffer`."
        log.wrong(("journal", "buffer"), said, "Add `on_full: buffer`, or remove the key.")
    _at_least("buffer", tree.get("buffer"), BUFFER_MIN_BYTES, "1MiB", log)
    _at_least("bytes_max", config.bytes_max, JOURNAL_MIN_BYTES, "256MiB", log)
    for name, kept_s in keep_s.items():
        _at_least(("keep", name), kept_s, KEEP_MIN_S, "1d", log)
    return config


def _at_least(key: str | tuple[str, str], value: float | None, least: float, said: str, log: Log) -> None:
    if value is not None and value < least:
        path: Path = ("journal", *((key,) if isinstance(key, str) else key))
        name = ".".join(str(part) for part in path)
        log.wrong(path, f"`{name}` is less than {said}.", f"Give it at least {said}, or remove the key.")
