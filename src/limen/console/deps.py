"""What the console works with: given by the composition root, never looked up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client import CollectorRegistry, Counter

from limen.administrator.admission import Admission
from limen.administrator.authenticators import Authenticators
from limen.administrator.authority import Authority
from limen.administrator.break_glass import BreakGlassDesk
from limen.administrator.complaints import Complaints, FindDecision
from limen.administrator.connect import ConnectDesk
from limen.administrator.desk import Desk
from limen.administrator.enrolment import Enrolment
from limen.administrator.invitations import InvitedUpstream
from limen.administrator.ledger import EventSink, Ledger
from limen.administrator.oauth.machines import Machines
from limen.administrator.oauth.server import AuthorizationServer
from limen.administrator.recovery import Recovery
from limen.administrator.recovery_approval import Approvals
from limen.administrator.saml_keys import SamlKeys
from limen.administrator.saml_logout import SamlLogout
from limen.administrator.saml_names import SamlNames
from limen.administrator.saml_provider import SamlProvider
from limen.administrator.saml_upstream import SamlUpstream
from limen.administrator.saml_upstream_logout import SamlUpstreamLogout
from limen.administrator.sign_in import SignIn
from limen.administrator.signing_keys import SigningKeys
from limen.administrator.step_up import StepUp
from limen.administrator.upstream_links import UpstreamLinks
from limen.administrator.upstream_logout import UpstreamLogout
from limen.administrator.workload_life import WorkloadLife
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
        authority: decides sign-ins to clients, and who approves recoveries; without it nobody does.
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
    authority: Authority | None = None
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
        client_keys = SigningKeys(self.desk.ledger, deps.clock, deps.sealer)
        self.upstream = InvitedUpstream(
            self.desk,
            self.sign_in,
            deps.secret,
            deps.transport,
            lambda claims: client_keys.sign(claims, typ="JWT"),
        )
        self.upstream_logout = UpstreamLogout(self.desk, self.upstream)
        self.upstream_links = UpstreamLinks(self.desk)
        self.saml_keys = SamlKeys(self.desk.ledger, deps.clock, deps.sealer)
        self.saml_names = SamlNames(self.desk, self.saml_keys)
        self.saml = SamlUpstream(
            self.desk, self.sign_in, Admission(self.desk, self.sign_in), self.saml_names, self.saml_keys
        )
        self.saml_upstream_logout = SamlUpstreamLogout(self.desk, self.saml_names, self.saml_keys)
        self.saml_idp: SamlProvider | None = None
        self.connect = ConnectDesk(self.desk)
        self.oauth: AuthorizationServer | None = None
        if deps.authority is not None:
            self.oauth = AuthorizationServer(
                self.desk,
                deps.authority,
                connect=self.connect,
                signing=client_keys,
                secret=deps.secret,
                transport=deps.transport,
            )
            machines = Machines(self.desk, deps.authority, client_keys, deps.transport)
            self.oauth.add_grants(machines.grants())
            self.oauth.more_metadata = machines.metadata
            self.saml_idp = SamlProvider(self.desk, self.oauth.issuing, self.saml_names, self.saml_keys)
            self.saml_logout = SamlLogout(self.desk, self.saml_idp, self.saml_names, self.saml_keys)
        self.workload_life = WorkloadLife(self.desk)
        self.enrolment = Enrolment(self.desk)
        self.recovery = Recovery(self.desk)
        self.approvals = Approvals(self.desk)
        self.authenticators = Authenticators(self.desk)
        self.break_glass = BreakGlassDesk(self.desk)
        self.complaints = Complaints(self.desk, deps.decision)
        self.sign_ins = Counter(
            "limen_sign_ins", "Attempts to sign in, by what they came to.", ["answer"], registry=deps.registry
        )
