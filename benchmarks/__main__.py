"""`python -m benchmarks [NAME …]`: run all, or those named. `--quick` measures for less long.

A number among the names (`journal 1000000`) says how many records `journal` and its like make.
"""

import importlib
import sys

NAMES = (
    "decide",
    "grants",
    "check",
    "gateway",
    "path",
    "journal",
    "archive",
    "replay",
    "tunnel",
    "leash",
    "reassess",
    "connect",
    "sessions",
    "who_can",
    "journal",
)


def main() -> None:
    """Run each, one after the other: two at once would measure each other."""
    quick = "--quick" in sys.argv
    wanted = [name for name in sys.argv[1:] if not name.startswith("-") and not name.isdigit()] or list(NAMES)
    for name in wanted:
        if name not in NAMES:
            sys.exit(f"There is no benchmark '{name}'. There are: {', '.join(NAMES)}")
        print(f"\n# {name}\n", flush=True)
        importlib.import_module(f"benchmarks.bench_{name}").main(quick=quick)


main()
