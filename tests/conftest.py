"""What tests of several folders share: the builders of `tests/kit`, and one running demo a worker."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "kit"))

from demo_rig import Demo, running_demo

settings.register_profile("limen", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("limen")


@pytest.fixture(scope="session")
def demo() -> Iterator[Demo]:
    """One whole system for all tests of a worker; tests that change people make their own."""
    with running_demo() as running:
        yield running
