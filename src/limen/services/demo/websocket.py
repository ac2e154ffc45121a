"""As much of WebSocket (RFC 6455) as a sample app needs: short texts, there and back.

A frame that it does not take ends the conversation with the status that says so (section 7.4.1).
"""

import base64
import hashlib
import struct
from typing import BinaryIO

TEXT_BYTES_MAX = 4_096
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_LAST, _MASKED = 0x80, 0x80
_SHORT_MAX, _TWO_BYTES = 125, 126
_NORMAL, _UNSUPPORTED, _TOO_BIG = 1000, 1003, 1009


def accept_key(key: str) -> str:
    """Return what proves that an upgrade was understood (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


class WebSocket:
    """One conversation, from after the handshake."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader, self._writer = reader, writer

    def receive(self) -> str | None:
        """Return the next text, or None once the conversation is over."""
        while True:
            head = self._reader.read(2)
            if len(head) < 2:
                return None
            size = self._size(head[1])
            if size > TEXT_BYTES_MAX:
                return self._end(_TOO_BIG)
            mask = self._reader.read(4) if head[1] & _MASKED else bytes(4)
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self._reader.read(size)))
            match head[0] ^ _LAST:
                case 0x1:
                    return payload.decode("utf-8", "replace")
                case 0x9:
                    self._frame(_PONG, payload)
                case 0xA:
                    continue
                case 0x8:
                    return self._end(_NORMAL)
                case _:  # parts of a message, bytes, what is not known
                    return self._end(_UNSUPPORTED)

    def send(self, text: str) -> None:
        """Send a text."""
        self._frame(_TEXT, text.encode())

    def _end(self, status: int) -> None:
        self._frame(_CLOSE, struct.pack(">H", status))

    def _size(self, byte: int) -> int:
        short = byte & ~_MASKED
        if short <= _SHORT_MAX:
            return short
        width, form = (2, ">H") if short == _TWO_BYTES else (8, ">Q")
        return int(struct.unpack(form, self._reader.read(width))[0])

    def _frame(self, kind: int, payload: bytes) -> None:
        size = len(payload)
        head = bytes([size]) if size <= _SHORT_MAX else bytes([_TWO_BYTES]) + struct.pack(">H", size)
        self._writer.write(bytes([_LAST | kind]) + head + payload)
        self._writer.flush()
