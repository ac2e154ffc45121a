"""Lets tests of several folders share the builders of `tests/kit` (the folders are no packages)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "kit"))
