"""The table of failures names tests; each exists, and each test of a fault is in it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
NAMED = re.compile(r"`((?:[a-z]+/)+test_[a-z_0-9]+\.py)?::(test_\w+)`")
MADE = re.compile(r"^def (test_\w+)\(", re.MULTILINE)


def named() -> set[tuple[str, str]]:
    text = (ROOT / "docs" / "explanation" / "failures.md").read_text("utf-8")
    file, found = "", set()
    for path, test in NAMED.findall(text):
        file = path or file
        found.add((file, test))
    return found


def test_every_test_that_the_table_of_failures_names_exists() -> None:
    there = {
        (file, test)
        for file, test in named()
        if (ROOT / "tests" / file).is_file() and f"def {test}(" in (ROOT / "tests" / file).read_text("utf-8")
    }
    assert named() == there
    assert len(there) > 20


def test_every_test_of_a_fault_is_in_the_table_of_failures() -> None:
    made = {
        (f"journeys/{path.name}", test)
        for path in (ROOT / "tests" / "journeys").glob("test_faults_*.py")
        for test in MADE.findall(path.read_text("utf-8"))
    }
    assert made <= named()
    assert made
