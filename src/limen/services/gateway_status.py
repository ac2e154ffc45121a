"""What a gateway's host says of itself in a file beside its sockets; `limen gateway upgrade` reads it."""

from pathlib import Path

import msgspec

from limen.core.errors import NotFound


class SlotStatus(msgspec.Struct, frozen=True):
    """One brain: where it is in its life, and the live streams that it holds."""

    phase: str
    pid: int | None
    release: str
    streams: int
    restarts: int


class UpgradeStatus(msgspec.Struct, frozen=True):
    """The last upgrade.

    Attributes:
        n: counts upgrades since the host was started.
        outcome: "" (none yet), `running`, `done`, `refused` or `failed`.
        why: for the last two.
    """

    n: int = 0
    at: float = 0.0
    outcome: str = ""
    why: str = ""


class GatewayStatus(msgspec.Struct, frozen=True):
    """The processes of one gateway. `active` names the slot that Envoy asks."""

    pid: int
    active: str
    slots: dict[str, SlotStatus]
    envoy: int | None
    upgrade: UpgradeStatus


def write_status(path: Path, status: GatewayStatus) -> None:
    """Replace the file at once."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(status))
    fresh.chmod(0o600)
    fresh.rename(path)


def read_status(path: Path) -> GatewayStatus:
    """Return what the host said last.

    Raises:
        NotFound: no gateway runs here.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=GatewayStatus)
    except (FileNotFoundError, msgspec.MsgspecError):
        raise NotFound(
            "No gateway runs on this state folder.",
            remedy="Start one with `limen gateway`, or say where it is: --state DIR.",
            code="NO_GATEWAY",
        ) from None
