"""Envoy as a brain configures it: on control's own machine, or of a gateway that joined from another."""

import asyncio
import os
from collections.abc import Callable, Mapping

import structlog

from limen.administrator.feed_client import FeedClient
from limen.core.catalogue import Catalogue
from limen.core.clock import Clock
from limen.core.errors import Invalid, LimenError
from limen.enforcement.certificates import CertificateFolder
from limen.enforcement.envoy.binary import find_envoy
from limen.enforcement.envoy.files import Discovery, render_control_identity
from limen.enforcement.envoy.runner import Runner
from limen.enforcement.envoy.settings import STREAM_MAX_S, ControlUpstream, EnvoySettings
from limen.enforcement.envoy.supervise import EnvoySupervisor
from limen.enforcement.joined_certificates import JoinedCertificates
from limen.services.gateway_identity import RENEW_LOOK_EVERY_S, IdentityFolder, Renewal, Seat
from limen.services.gateway_options import GatewayOptions
from limen.services.state import StateDir

STREAM_MAX_VARIABLE = "LIMEN_STREAM_MAX_S"
_STREAM_MAX_MOST_S = 86_400.0

log = structlog.get_logger("limen.gateway")


def make_envoy(
    state: StateDir,
    options: GatewayOptions,
    slot: str,
    *,
    seat: Seat,
    feed: FeedClient,
    clock: Clock,
    runner: Runner,
) -> EnvoySupervisor:
    """Return what configures the Envoy that `runner` runs."""
    settings = EnvoySettings(
        folder=state.root / "envoy",
        run=state.run,
        binary=find_envoy(),
        host=options.listen,
        port=options.port,
        slot=slot,
        control=ControlUpstream(seat.consoles, seat.console_name) if seat.consoles else None,
        stream_max_s=stream_max_s(os.environ),
    )
    identity = seat.identity
    if identity is None:
        return EnvoySupervisor(settings, CertificateFolder(state.root / "ca"), clock, runner=runner)

    async def sign(csr: str) -> tuple[str, str]:
        signed = await feed.sign_leaf(csr)
        return signed.chain, signed.ca

    certificates = JoinedCertificates(state.root / "ca", sign)

    async def prepare(catalogue: Catalogue) -> None:
        try:
            await certificates.prepare(catalogue, clock.now())
        except LimenError as error:  # what was kept goes on serving
            log.warning("gateway.leaf_not_signed", why=error.message)

    return EnvoySupervisor(
        settings, certificates, clock, runner=runner, prepare=prepare, beside=lambda: _files(identity)
    )


def stream_max_s(environ: Mapping[str, str]) -> float:
    """Return how long a request may live that no leash holds: five minutes, or what this machine was told.

    Raises:
        Invalid: `LIMEN_STREAM_MAX_S` is no number of seconds between 1 and a day.
    """
    told = environ.get(STREAM_MAX_VARIABLE, "").strip()
    if not told:
        return STREAM_MAX_S
    try:
        seconds = float(told)
    except ValueError:
        seconds = 0.0
    if not 1.0 <= seconds <= _STREAM_MAX_MOST_S:
        raise Invalid(
            f"{STREAM_MAX_VARIABLE}: '{told[:32]}' is not a number of seconds from 1 to 86400.",
            remedy=f"Leave it out for {STREAM_MAX_S:.0f}. What lives longer is a route with streaming: true.",
        )
    return seconds


async def renew_while(on_duty: Callable[[], bool], renewal: Renewal) -> None:
    """Renew a joined gateway's certificate when it is time, while on duty: two brains share one."""
    while True:
        if on_duty() and renewal.due():
            try:
                await renewal.renew()
            except LimenError as error:
                log.warning("gateway.not_renewed", why=error.message)
        await asyncio.sleep(RENEW_LOOK_EVERY_S)


def _files(identity: IdentityFolder) -> Mapping[str, Discovery]:
    """Return what Envoy shows control, as the folder holds it now."""
    chain, key = identity.client_pem()
    return render_control_identity(chain, key, identity.load().ca)
