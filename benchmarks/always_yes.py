"""The trivial check of the same kind: uvloop and httptools on a Unix socket, and the answer is yes."""

import asyncio
import sys

import httptools
import uvloop

YES = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Yes(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Say yes."""
        self._transport.write(YES)  # type: ignore[attr-defined]


async def _main(path: str) -> None:
    server = await asyncio.get_running_loop().create_unix_server(Yes, path, backlog=1024)
    await server.serve_forever()


uvloop.run(_main(sys.argv[1]))
