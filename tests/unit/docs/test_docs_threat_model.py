"""The threat model names tests; each of them exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
NAMED = re.compile(r"`((?:[a-z]+/)+test_[a-z_0-9]+\.py)?::(test_\w+)`")


def test_every_test_that_the_threat_model_names_exists() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
    file, missing, seen = "", [], 0
    for named, test in NAMED.findall(text):
        file = named or file
        seen += 1
        path = ROOT / "tests" / file
        if not path.is_file() or f"def {test}(" not in path.read_text("utf-8"):
            missing.append(f"{file}::{test}")
    assert not missing
    assert seen > 80
