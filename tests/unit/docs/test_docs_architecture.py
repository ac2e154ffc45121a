"""The architecture page names every module, once, and tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGES = ("architecture.md", "explanation/live-streams.md", "explanation/gateways.md")
TREE = re.compile(r"## The tree\n(.*?)\n## ", re.DOTALL)
NAMED = re.compile(r"`((?:tests/(?:[a-z]+/)+)?test_[a-z_0-9]+\.py)?(?:::(test_\w+))?`")


def test_every_module_stands_in_the_tree_once() -> None:
    found = TREE.search((ROOT / "docs" / "architecture.md").read_text("utf-8"))
    assert found is not None
    named: list[str] = []
    part = ""
    for line in found[1].splitlines():
        if line.startswith("### "):
            part = line.removeprefix("### ")
        elif part and line.startswith("| ") and "Module" not in line:
            named += _modules(part, line.split(" | ")[0])
    real = [
        str(path.relative_to(ROOT / "src/limen").with_suffix(""))
        for path in sorted((ROOT / "src/limen").rglob("*.py"))
        if not path.name.startswith("__") and "migrations" not in path.parts and "starter" not in path.parts
    ]
    assert sorted(named) == real


def _modules(part: str, cell: str) -> list[str]:
    """Paths of the modules in one cell. A folder that is named first holds for the rest of its row."""
    packages = part.split(", ")
    folder = packages[0] if len(packages) == 1 else ""
    found = []
    for named in re.findall(r"`([^`]+)`", cell):
        name = named
        if name.endswith("/"):
            if name in ("starter/", "migrations/", "templates/", "static/"):
                continue
            folder = (
                name.rstrip("/")
                if name.startswith("information") or not folder
                else f"{folder}/{name}".rstrip("/")
            )
            continue
        if "/" in name:
            start, _, name = name.rpartition("/")
            if start == "…":
                folder = "information/identity"
            elif start.partition("/")[0] in packages:
                folder = start
            else:
                folder = f"{packages[0]}/{start}"
        found.append(f"{folder}/{name}")
    return found


def test_every_test_that_the_pages_name_exists() -> None:
    missing, seen = [], 0
    for page in PAGES:
        file = ""
        for named, test in NAMED.findall((ROOT / "docs" / page).read_text("utf-8")):
            if not named and not test:
                continue
            if named:
                file = named if "/" in named else f"{Path(file).parent}/{named}"
            seen += 1
            path = ROOT / file
            if not path.is_file() or (test and f"def {test}(" not in path.read_text("utf-8")):
                missing.append(f"{page}: {file}::{test}")
    assert not missing
    assert seen > 60
