"""What the admin API needs of control's gateways: who follows, who may, and what they are told to do."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from limen.administrator.feed_wire import Report
from limen.core.secret import Secret


class GatewayOffice(Protocol):
    """Control's gateways. Its coroutines run on control's loop; the rest may be called from any thread."""

    def gateways(self) -> list[dict[str, Any]]:
        """Return every gateway, of this machine and of others, as `limen gateway list` shows it."""
        ...

    def make_token(
        self, node: str, *, actor: str, reason: str, life_s: float, addresses: tuple[str, ...]
    ) -> Secret[str]:
        """Return a join token."""
        ...

    async def remove(self, node: str, *, actor: str, reason: str) -> None:
        """Take a gateway out, and end its connections."""
        ...

    async def command(
        self, node: str | None, do: str, args: Mapping[str, Any]
    ) -> Sequence[tuple[str, Report]]:
        """Have one gateway, or all (`node` None), do something; return each one's report."""
        ...

    async def erase(self, owner: str) -> dict[str, bool]:
        """Erase an owner's keys here and at every joined gateway; return which of those have done it."""
        ...

    def away(self) -> list[str]:
        """Return the joined gateways that do not follow this control node, which no command reaches."""
        ...
