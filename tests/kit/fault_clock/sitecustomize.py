"""For processes whose PYTHONPATH leads here: a wall clock that is as far off as a file says.

Python imports this before anything else. The clocks that count since boot are left alone, as they are
by whoever sets a machine's time.
"""

import os
import time

_FILE = os.environ.get("LIMEN_FAULT_CLOCK", "")
_true_time, _true_time_ns = time.time, time.time_ns


def _offset_s() -> float:
    try:
        with open(_FILE, encoding="ascii") as file:  # noqa: PTH123  # pathlib is slow to import
            return float(file.read() or 0)
    except (OSError, ValueError):
        return 0.0


if _FILE:
    time.time = lambda: _true_time() + _offset_s()
    time.time_ns = lambda: _true_time_ns() + round(_offset_s() * 1e9)
