"""The shadow's process: `python -m limen.services.shadow_worker JOURNAL FOLDER SHARE`, until SIGTERM."""

import gc
import os
import signal
import sys
import threading
from pathlib import Path

import structlog

from limen.administrator.shadow_run import Shadowing, run_shadow
from limen.administrator.shadow_state import read_candidate
from limen.services.logs import configure_logs
from limen.services.processes import obey_parent

NICENESS = 15  # whatever else runs here goes first

log = structlog.get_logger("limen.shadow")


def main(journal: str, folder: str, share: str) -> None:
    """Follow until told to stop."""
    obey_parent()
    configure_logs(process="shadow", json=True)
    os.nice(NICENESS)
    stopping = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopping.set())
    candidate = read_candidate(Path(folder))
    if candidate is None:
        log.error("shadow.no_candidate")
        sys.exit(1)
    shadowing = Shadowing(Path(journal), Path(folder), candidate)
    gc.freeze()  # the bundle and what reads it live as long as this process
    log.info("shadow.follows", bundle=candidate.bundle, life=shadowing.state.lives)
    run_shadow(shadowing, stopping, share=float(share))


if __name__ == "__main__":
    main(*sys.argv[1:])
