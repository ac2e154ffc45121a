"""As much of WebSocket (RFC 6455) as a sample app needs: short texts, there and back.

A frame that it does not take ends the conversation with the status that says so (section 7.4.1).
"""

import base64
import hashlib
import struct
from io import BufferedIOBase

TEXT_BYTES_MAX = 4_096
_HEAD_BYTES = 2
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

    def __init__(self, reader: BufferedIOBase, writer: BufferedIOBase) -> None:
        self._reader, self._writer = reader, writer

    def receive(self) -> str | None:
        """Return the next text, or None once the conversation is over."""
        while (head := self._reader.read(2)) and len(head) == _HEAD_BYTES:
            size = self._size(head[1])
            if size > TEXT_BYTES_MAX:
                self._close(_TOO_BIG)
                return None
            payload = self._payload(size, masked=bool(head[1] & _MASKED))
            kind = head[0] ^ _LAST
            if kind == _TEXT:
                return payload.decode("utf-8", "replace")
            if kind == _PING:
                self._frame(_PONG, payload)
            elif kind != _PONG:  # the end, parts of a message, bytes, or what is not known
                self._close(_NORMAL if kind == _CLOSE else _UNSUPPORTED)
                return None
        return None

    def send(self, text: str) -> None:
        """Send a text."""
        self._frame(_TEXT, text.encode())

    def _close(self, status: int) -> None:
        self._frame(_CLOSE, struct.pack(">H", status))

    def _payload(self, size: int, *, masked: bool) -> bytes:
        mask = self._reader.read(4) if masked else bytes(4)
        return bytes(byte ^ mask[at % 4] for at, byte in enumerate(self._reader.read(size)))

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
