"""The way to one service: a connection to its gateway for each tunnel."""

import asyncio
import ssl

from limen.connect.link import GatewayLink
from limen.connect.network import Place, explain_network_error
from limen.connect.outcomes import Lost, NotTaken, Outcome
from limen.connect.tunnel import Tunnel
from limen.core.errors import LimenError
from limen.core.secret import Secret

DIAL_MAX_S = 15.0
TRIES_MAX = 3  # of a stream that the gateway says it never looked at


class ServiceGateway:
    """Carries tunnels to one service."""

    def __init__(self, place: Place, token: Secret[str], context: ssl.SSLContext) -> None:
        self._place = place
        self._token = token
        self._context = context

    async def carry(self, tunnel: Tunnel) -> Outcome:
        """Open a stream for a tunnel, carry it to its end, and say how it ended."""
        for _ in range(TRIES_MAX):
            try:
                link = await self._dial()
            except LimenError as error:
                return Lost(error.message)
            try:
                outcome = await link.carry(tunnel, f"{self._place.host}:443", self._token)
            finally:
                link.close()
            if not isinstance(outcome, NotTaken):
                return outcome
        return Lost("The gateway takes no new connections now.")

    async def _dial(self) -> GatewayLink:
        """Connect.

        Raises:
            LimenError: the gateway cannot be reached, is not trusted, or is none.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(DIAL_MAX_S):
                _, link = await loop.create_connection(
                    GatewayLink,
                    self._place.address,
                    self._place.port,
                    ssl=self._context,
                    server_hostname=self._place.host,
                )
                try:
                    await link.ready
                except BaseException:
                    link.close()
                    raise
        except (OSError, TimeoutError) as error:
            raise explain_network_error(error, self._place) from None
        return link
