"""How a journal is kept, as the process that opens it and the bundle say."""

import msgspec

from limen.core.catalogue import JournalConfig
from limen.journal.reserve import RESERVE_BYTES
from limen.journal.retention import Retention

SEGMENT_BYTES = 64 * 1024 * 1024
BUFFER = "buffer"


class JournalOptions(msgspec.Struct, frozen=True):
    """How a journal is kept. By default every segment is kept for ever: see `Retention`.

    Attributes:
        sync: wait for the disk before `append` returns.
        segment_bytes: size at which the next segment starts.
        reserve_bytes: space held back for a full disk; 0 holds none.
        on_full: `deny`, or `buffer`: records that are not urgent wait in memory for space.
        buffer_bytes: how much may wait.
    """

    sync: bool = False
    segment_bytes: int = SEGMENT_BYTES
    reserve_bytes: int = RESERVE_BYTES
    retention: Retention = Retention()
    on_full: str = "deny"
    buffer_bytes: int = JournalConfig().buffer_bytes

    def under(self, config: JournalConfig) -> "JournalOptions":
        """Return the options that a bundle makes of these."""
        return msgspec.structs.replace(
            self,
            sync=config.sync,
            on_full=config.on_full,
            buffer_bytes=config.buffer_bytes,
            retention=Retention(bytes_max=config.bytes_max, keep_s=config.keep_s),
        )
