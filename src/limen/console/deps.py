"""What the console works with: given by the composition root, never looked up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client import CollectorRegistry, Counter

from limen.administrator.authenticators import Authenticators
from limen.administrator.complaints import Complaints, FindDecision
from limen.administrator.connect import ConnectDesk
from limen.administrator.desk import Desk
from limen.administrator.enrolment import Enrolment
from limen.administrator.ledger import EventSink, Ledger
from limen.administrator.sign_in import SignIn
from limen.administrator.step_up import StepUp
from limen.administrator.upstream import Upstream
from limen.console import pages
from limen.core.catalogue import Catalogue
from limen.core.clock import Clock
from limen.core.errors import NotFound
from limen.core.record import DecisionRecord
from limen.core.secret import Secret
from limen.information.identity.passwords import PasswordHasher
from limen.store.database import Store
from limen.store.sealing import Sealer
from limen.store.sessions import Session

MayOpen = Callable[[str, Session], Mapping[str, tuple[bool | None, str]]]
"""Which apps and services a person may open now, by name, and why not. None: not known."""


def _nothing_known(_person: str, _session: Session) -> Mapping[str, tuple[bool | None, str]]:
    return {}


def _no_secret(name: str) -> Secret[str]:
    raise NotFound(f"There is no secret named {name!r}.", remedy=f"Set it: limen secret set {name}")


def _nothing_recorded(_decision: str) -> DecisionRecord | None:
    return None


@dataclass(frozen=True)
class ConsoleDeps:
    """The parts of a running control that the console needs.

    Attributes:
        sealer: under the purpose `credentials`.
        token_key: 32 bytes; MAC of tokens, anti-forgery values and recovery codes.
        port: the public one, which stands in URLs.
        note: where events go; it has kept the record when it returns.
        secret: reads a stored app secret by name (client secrets of identity providers).
        decision: finds a recorded decision, whichever node made it.
        transport: how identity providers are spoken to; None is the network.
    """

    store: Store
    clock: Clock
    catalogue: Callable[[], Catalogue]
    sealer: Sealer
    token_key: bytes
    port: int
    note: EventSink
    jwks: Callable[[], Mapping[str, Any]]
    may_open: MayOpen = _nothing_known
    secret: Callable[[str], Secret[str]] = _no_secret
    decision: FindDecision = _nothing_recorded
    render: Callable[..., str] = pages.render
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    ready: Callable[[], bool] = lambda: True
    node: str = "control"
    hasher: PasswordHasher | None = None
    transport: httpx.BaseTransport | None = None


class Parts:
    """The console's services, made once of its dependencies."""

    def __init__(self, deps: ConsoleDeps) -> None:
        self.deps = deps
        self.desk = Desk(
            Ledger(deps.store, deps.note, deps.node),
            deps.clock,
            sealer=deps.sealer,
            key=deps.token_key,
            catalogue=deps.catalogue,
            port=deps.port,
            hasher=deps.hasher,
        )
        self.sessions = self.desk.sessions
        self.sign_in = SignIn(self.desk)
        self.step_up = StepUp(self.desk)
        self.upstream = Upstream(self.desk, self.sign_in, deps.secret, deps.transport)
        self.enrolment = Enrolment(self.desk)
        self.authenticators = Authenticators(self.desk)
        self.connect = ConnectDesk(self.desk)
        self.complaints = Complaints(self.desk, deps.decision)
        self.sign_ins = Counter(
            "limen_sign_ins", "Attempts to sign in, by what they came to.", ["answer"], registry=deps.registry
        )
