"""What `limen gateway` was told; it goes from the command line to the host, and from there to the brains."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec

NODE = "gateway"
UPGRADE_DEADLINE_S = 3600.0  # how long streams of the release before may go on


class GatewayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one gateway.

    Attributes:
        metrics: HOST:PORT for Prometheus; None means only the Unix socket.
        node: its name in records, and to control.
        drain_s: how long live streams may go on after SIGTERM.
        upgrade_deadline_s: how long live streams may go on in a brain that another has followed.
    """

    state: Path
    port: int
    listen: str = "127.0.0.1"
    metrics: str | None = None
    node: str = NODE
    drain_s: float = 0.0
    upgrade_deadline_s: float = UPGRADE_DEADLINE_S

    def arguments(self) -> tuple[str, ...]:
        """Return them as the command line that `parse_arguments` reads."""
        metrics = ("--metrics", self.metrics) if self.metrics else ()
        return (
            *("--state", str(self.state)),
            *("--port", str(self.port)),
            *("--listen", self.listen),
            *metrics,
            *("--node", self.node),
            *("--drain-s", str(self.drain_s)),
            *("--upgrade-deadline-s", str(self.upgrade_deadline_s)),
        )


def parse_arguments(arguments: Sequence[str]) -> GatewayOptions:
    """Read what `arguments` renders: the host has no use for a command line made for people."""
    parser = argparse.ArgumentParser(prog="limen-gateway-host")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--listen", default="127.0.0.1")
    parser.add_argument("--metrics")
    parser.add_argument("--node", default=NODE)
    parser.add_argument("--drain-s", type=float, default=0.0)
    parser.add_argument("--upgrade-deadline-s", type=float, default=UPGRADE_DEADLINE_S)
    return GatewayOptions(**vars(parser.parse_args(arguments)))
