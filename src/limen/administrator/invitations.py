"""Invitations that are taken up at the partner's own provider: a one-time link, and then a sign-in there.

Whoever has the link proves at that provider who they are; that account becomes the invited person's, who
needs no password here. The link is stored under a keyed hash of its own, so that it is none of the links with
which a password could be set.

Laws:
    V1 once. The link is spent by the step that links the account; looking at it, or an attempt that fails,
       spends nothing.
    V2 that provider alone. A link is for one provider, in the browser that took it up by a form of ours.
"""

import hashlib
import hmac
import secrets

import msgspec

from limen.administrator.desk import Desk, Flow
from limen.administrator.ledger import Entry
from limen.administrator.session_values import Answer, Over, TooMany, Visit
from limen.administrator.sign_in_life import SignInState
from limen.administrator.upstream import LINK, Linked, Upstream
from limen.core.errors import Conflict, Invalid
from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.information.identity.oidc_tokens import refused
from limen.information.identity.upstream_identity import UpstreamIdentity
from limen.store import credentials as keys
from limen.store import identities, sign_ins
from limen.store.sign_ins import EnrolmentLink

INVITE = "invite:"
"""How the purpose of such a link begins; a digest of the provider's name follows."""


class Invited(msgspec.Struct, frozen=True):
    """What an open invitation is for."""

    person: str
    name: str
    provider: str


def new_invitation(desk: Desk, entry: Entry, person: str, provider: str, ends_at: Instant) -> Secret[str]:
    """Make a link inside the caller's entry; return its address.

    Raises:
        Invalid: the bundle has no such provider.
    """
    names = [config.name for config in desk.catalogue().oidc]
    if provider not in names:
        remedy = f"Name one of `oidc:`: {', '.join(names) or 'there is none'}."
        raise Invalid(f"provider: the bundle has no provider '{provider[:64]}'.", remedy=remedy)
    token = secrets.token_urlsafe(32)
    link = EnrolmentLink(_hash(desk, token), person, _purpose(provider), ends_at)
    sign_ins.add_link(entry.tx.connection, link)
    return Secret(f"{desk.auth_origin}/invited/{token}")


class InvitedUpstream(Upstream):
    """The OpenID providers, for whoever was invited too."""

    def look(self, token: str) -> Invited | None:
        """Return what an invitation is for; None if it is used, over, or was never made."""
        desk = self._desk
        with desk.ledger.store.read() as connection:
            now = desk.clock.now()
            link = sign_ins.load_link(connection, _hash(desk, token), now)
            owner = keys.load_credentials(connection, link.person) if link and link.person else None
        if link is None or owner is None or not owner.active_at(now):
            return None
        names = (config.name for config in desk.catalogue().oidc)
        provider = next((name for name in names if _purpose(name) == link.purpose), None)
        return None if provider is None else Invited(owner.person, owner.name, provider)

    def take_up(self, token: str, visit: Visit) -> tuple[str, Secret[str]] | TooMany | Over:
        """Return where to send the browser, and the flow token it must bring back.

        Raises:
            NotFound, Unavailable: as `start`.
        """
        desk, invited = self._desk, self.look(token)
        if invited is None:
            return Over()
        begun = self.start(invited.provider, visit, destination="", link_to=invited.person)
        if isinstance(begun, TooMany):
            return begun
        with desk.ledger.entry("nobody", "take up an invitation", ip=visit.browser.ip) as entry:
            flow = desk.find_flow(entry.tx.connection, begun[1].reveal(), SignInState.UPSTREAM)
            assert flow is not None and flow.data.purpose == LINK
            data = msgspec.structs.replace(flow.data, link=_hash(desk, token))
            desk.save_flow(entry.tx.connection, msgspec.structs.replace(flow, data=data))
        return begun

    def _link(self, flow: Flow, identity: UpstreamIdentity, visit: Visit) -> Answer | Linked:
        """Make the account the invited person's, spend the link, and let them in."""
        if not flow.data.link:
            return super()._link(flow, identity, visit)
        person = flow.person
        try:
            with self._desk.ledger.entry("nobody", "invitation", ip=visit.browser.ip) as entry:
                connection, now = entry.tx.connection, entry.tx.now
                link = sign_ins.load_link(connection, flow.data.link, now)
                owner = keys.load_credentials(connection, person) if person else None
                if link is None or owner is None or link.person != person or not owner.active_at(now):
                    raise refused("the invitation is over")
                if _purpose(identity.source.partition(":")[2]) != link.purpose:
                    raise refused("the invitation is for another provider")
                if not sign_ins.spend_link(connection, flow.data.link, now):
                    raise refused("the invitation was used at the same time")
                entry.act_as(owner.person)
                identities.link_identity(
                    entry.tx, identity.source, identity.subject, owner.person, issuer=identity.issuer
                )
                by = {"source": identity.source, "by": "invitation"}
                entry.note("identity.linked", target=owner.person, **by)
        except Conflict as error:
            raise refused("the account that came with an invitation is somebody's already") from error
        config = self.provider(identity.source.partition(":")[2]).config
        return self.admission.admit(identity, config.people, visit)


def _purpose(provider: str) -> str:
    return f"{INVITE}{hashlib.sha256(provider.encode()).hexdigest()[:24]}"


def _hash(desk: Desk, token: str) -> str:
    return hmac.digest(desk.key, f"invitation\0{token}".encode(), "sha256").hex()
