"""What the command line does with a gateway: become its host, and have a running one upgraded."""

import os
import re
import signal
import sys
import time
from pathlib import Path

from limen.core.errors import Invalid, Refused, Unavailable
from limen.services.gateway_options import GatewayOptions
from limen.services.gateway_status import GatewayStatus, read_status
from limen.services.state import StateDir

UPGRADE_S = 150.0  # more than the host takes to give up
POLL_S = 0.1
_NODE = re.compile(r"[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?")  # a DNS label, with room for the slot


def become_host(options: GatewayOptions) -> None:
    """Make the state folder ready, take the gateway's lock, and become the host.

    Another program, because this one has imported far more than a host needs. The lock stays held:
    its descriptor is inherited.

    Raises:
        Conflict: a gateway runs on this state folder already.
        Invalid: the state folder is not private; the node's name is not a DNS label.
    """
    if not _NODE.fullmatch(options.node):
        raise Invalid(
            f"--node: '{options.node}' cannot be a gateway's name.", remedy="Use a-z, 0-9 and -, at most 60."
        )
    state = StateDir.create(options.state)
    lock = state.lock("gateway")
    os.set_inheritable(lock.fileno(), True)
    program = ("-m", "limen.services.gateway_host", str(state.run), *options.arguments())
    os.execv(sys.executable, (sys.executable, *program))  # noqa: S606 - becoming the host is the purpose


def upgrade_gateway(state: Path | None) -> GatewayStatus:
    """Have the gateway on this state folder upgraded, and wait for the outcome.

    Raises:
        NotFound: none runs there.
        Refused: it will not now, or could not; it goes on as it was.
        Unavailable: it does not say.
    """
    path = StateDir.find(state).run / "gateway.json"
    before = read_status(path)
    try:
        os.kill(before.pid, signal.SIGHUP)
    except ProcessLookupError:
        path.unlink(missing_ok=True)
        read_status(path)
    deadline = time.monotonic() + UPGRADE_S
    while time.monotonic() < deadline:
        status = read_status(path)
        if status.upgrade.n > before.upgrade.n and status.upgrade.outcome != "running":
            return _judged(status)
        time.sleep(POLL_S)
    raise Unavailable(
        "The gateway did not say how the upgrade went.", remedy="Look at its log.", code="NO_ANSWER"
    )


def _judged(status: GatewayStatus) -> GatewayStatus:
    if status.upgrade.outcome == "done":
        return status
    raise Refused(
        f"The gateway was not upgraded: {status.upgrade.why}.",
        remedy="It goes on as it was. Look at its log, and try again.",
        code="NOT_UPGRADED",
    )
