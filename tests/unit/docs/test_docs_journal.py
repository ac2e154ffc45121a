"""The page about the journal names every family of events that the code writes, and settings that exist."""

import re
from pathlib import Path

from limen.engine.limen_journal_keys import JOURNAL
from limen.journal.export.ocsf_classes import OCSF_VERSION

ROOT = Path(__file__).parents[3]
NOTED = re.compile(r"""(?:\.note\(\s*|_?tell\(\s*|kind=|KIND = )"([a-z_]+)\.[a-z_]+""")
KINDS = re.compile(r"## What is in it\n(.*?)\n## ", re.DOTALL)


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def test_the_page_names_every_family_of_events() -> None:
    found = KINDS.search(page("explanation/journal.md"))
    assert found is not None
    named = {name.partition(".")[0] for name in re.findall(r"`([a-z_.]+)`", found[1])}
    sources = (ROOT / "src" / "limen").rglob("*.py")
    noted = {family for path in sources for family in NOTED.findall(path.read_text("utf-8"))}
    assert {"sign_in", "person", "journal", "stream"} <= noted
    assert noted <= named


def test_settings_of_the_journal_that_pages_name_exist() -> None:
    pages = ("explanation/journal.md", "how-to/keep-and-forget.md", "how-to/operate.md")
    named = {
        name
        for one in pages
        for name in re.findall(r"`journal\.([a-z_]+)(?:\.[a-z]+)?(?:: [a-z]+)?`", page(one))
    }
    events = {"loss", "buffered", "drained", "fork", "forged", "refused", "inconsistent", "witness_away"}
    assert {"keep", "witness"} <= named
    assert named - events <= set(JOURNAL.keys)


def test_pages_name_the_version_of_ocsf_that_is_written() -> None:
    assert f"OCSF {OCSF_VERSION}" in page("how-to/search-and-export.md")
    assert f"OCSF {OCSF_VERSION}" in page("reference/ocsf.md")
