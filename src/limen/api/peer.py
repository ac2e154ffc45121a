"""Who is on the other end of the admin socket: the kernel says, by SO_PEERCRED."""

import asyncio
import os
import socket
import struct

import msgspec
from fastapi import Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from limen.core.errors import Refused

_UCRED = struct.Struct("3i")


class Peer(msgspec.Struct, frozen=True):
    """A process of this host."""

    pid: int
    uid: int


class PeerProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with the peer's credentials where the client's address would be."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the peer, once a connection."""
        super().connection_made(transport)
        found = transport.get_extra_info("socket")
        raw = found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, uid, _ = _UCRED.unpack(raw)
        self.client = (f"uid:{uid}", pid)


def verify_peer(request: Request) -> Peer:
    """Return the peer of a request.

    Raises:
        Refused: neither the user who runs control nor root. The socket's folder keeps others out
            already; this is the second lock.
    """
    client = request.client
    if client is None or not client.host.startswith("uid:"):
        raise Refused("The admin API answers on its Unix socket only.", remedy="Use the limen command.")
    uid = int(client.host.removeprefix("uid:"))
    if uid not in (0, os.geteuid()):
        raise Refused(
            f"User id {uid} may not administer this Limen.",
            remedy="Run the command as the user who runs Limen.",
        )
    return Peer(pid=client.port, uid=uid)
