"""Directories of the bundle, read when their time has come: one after another, beside the serving."""

import threading

import structlog

from limen.administrator.ldap_sync import LdapSync
from limen.core.errors import LimenError

LOOK_EVERY_S = 15.0
STOP_S = 5.0  # a batch of people is written in less; a directory that is being read is left at once

log = structlog.get_logger("limen.sources")


class SourceCare:
    """Looks for directories that are due, and reads them, in a thread of its own.

    No thread of the loop's: a directory may take minutes to answer, and the end of control waits for those.
    """

    def __init__(self, sync: LdapSync) -> None:
        self._sync = sync
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="sources", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End. Whatever is under way leaves nothing half done: each batch is a transaction."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def _look(self) -> None:
        while not self._stopping.is_set():
            try:
                self._sync.run_due()
            except LimenError as error:  # the database, or no usable bundle: the next look tries again
                log.warning("sources.not_read", why=error.message)
            except Exception:  # a fault of ours: reading goes on all the same
                log.exception("sources.failed")
            self._stopping.wait(LOOK_EVERY_S)
