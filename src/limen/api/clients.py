"""Clients over the admin API: what the bundle has, who is signed in there, the keys that sign for them."""

from typing import Any

import msgspec
from fastapi import APIRouter

from limen.administrator.oauth.server import AuthorizationServer
from limen.api.body import Body, Why
from limen.api.deps import Actor, AdminDeps, Deps, decided
from limen.core.client_config import ClientConfig
from limen.core.errors import NotFound, Unavailable
from limen.store import oauth as rows
from limen.store.oauth import Authorization

router = APIRouter(tags=["clients"])


class Ending(Body):
    """Whose sign-ins at a client to end, and why. Without a person: everybody's."""

    person: str | None = None
    reason: Why


class Rotation(Body):
    """Make new signing keys. `compromised`: the old ones are believed no more, from now on."""

    compromised: bool = False
    reason: Why


@router.get("/v1/clients", summary="List clients", **decided("read", "clients"))
def list_clients(deps: Deps) -> list[dict[str, Any]]:
    """Return the bundle's clients: what they speak, how many sign-ins are live, how many logouts untold."""
    clients = deps.authority.active().catalogue.clients
    with deps.store.read() as connection:
        live: dict[str, int] = {}
        for one in rows.list_authorizations(connection):
            if one.redeemed_at is not None:
                live[one.client] = live.get(one.client, 0) + 1
        untold = rows.count_notices(connection, clients)
    return [
        {**_brief(client), "signed_in": live.get(name, 0), "untold_logouts": untold[name]}
        for name, client in sorted(clients.items())
    ]


@router.get("/v1/clients/{client}", summary="Show a client", **decided("read", "clients"))
def show_client(client: str, deps: Deps) -> dict[str, Any]:
    """Return a client with all that its own configuration needs to know of this issuer."""
    found = _find(deps, client)
    oidc = found.oidc
    about: dict[str, Any] = _brief(found)
    if found.audience is not None:
        about["audience"] = found.audience
    if oidc is not None:
        issuer = deps.desk.auth_origin
        about |= {
            "client_id": client,
            "issuer": issuer,
            "discovery": f"{issuer}/.well-known/openid-configuration",
            "auth": oidc.auth,
            "secrets": list(oidc.secrets),
            "grants": list(oidc.grants),
            "scopes": list(oidc.scopes),
            "audiences": list(oidc.audiences),
            "claims": dict(oidc.claims),
            "redirect_uris": list(oidc.redirect_uris),
            "post_logout_redirect_uris": list(oidc.post_logout_redirect_uris),
            "frontchannel_logout_uri": oidc.frontchannel_logout_uri,
            "backchannel_logout_uri": oidc.backchannel_logout_uri,
            "access_token_s": oidc.access_token_s,
            "signing": oidc.signing,
            "dpop": oidc.dpop,
        }
    return about


@router.get("/v1/client-sessions", summary="List sign-ins at clients", **decided("read", "sessions"))
def list_sessions(deps: Deps, client: str | None = None, person: str | None = None) -> list[dict[str, Any]]:
    """Return the live sign-ins at clients, of one client or one person."""
    with deps.store.read() as connection:
        found = rows.list_authorizations(connection, client=client, person=person)
    return [_session(one) for one in found if one.redeemed_at is not None]


@router.post("/v1/clients/{client}/end", summary="End sign-ins at a client", **decided("admin", "sessions"))
def end_sessions(client: str, body: Ending, deps: Deps, actor: Actor) -> dict[str, int]:
    """End sign-ins at a client: their tokens, and by a logout token the client's own sessions."""
    with deps.store.read() as connection:
        found = rows.list_authorizations(connection, client=client, person=body.person)
    ended = _server(deps).issuing.end_all(found, actor=actor, why=body.reason)
    return {"ended": ended}


@router.get("/v1/signing-keys", summary="List signing keys", **decided("read", "clients"))
def list_keys(deps: Deps) -> list[dict[str, Any]]:
    """Return the keys that sign tokens, oldest first; never their private halves."""
    kept = ("kid", "alg", "created_at", "active_at", "retired_at")
    return [{name: getattr(row, name) for name in kept} for row in _server(deps).signing.known()]


@router.post("/v1/signing-keys/rotate", summary="Rotate signing keys", **decided("admin", "clients"))
def rotate_keys(body: Rotation, deps: Deps, actor: Actor) -> list[dict[str, Any]]:
    """Make successors of all keys: published now, signing tomorrow; at once where the old ones are known."""
    made = _server(deps).signing.rotate(actor=actor, reason=body.reason, compromised=body.compromised)
    return [{"kid": row.kid, "alg": row.alg, "active_at": row.active_at} for row in made]


def _server(deps: AdminDeps) -> AuthorizationServer:
    if deps.oauth is None:
        raise Unavailable("This control serves no clients.", remedy="Ask the control that does.")
    return deps.oauth


def _find(deps: AdminDeps, name: str) -> ClientConfig:
    found = deps.authority.active().catalogue.clients.get(name)
    if found is None:
        raise NotFound(f"There is no client {name[:80]!r}.", remedy="See `limen client list`.")
    return found


def _brief(client: ClientConfig) -> dict[str, Any]:
    speaks = [
        word for word, has in (("oidc", client.oidc), ("saml", client.saml), ("api", client.audience)) if has
    ]
    return {
        "name": client.name,
        "title": client.title or client.name,
        "speaks": speaks,
        "owner": client.owner,
        "allow": list(client.allow),
        "url": client.url,
    }


def _session(one: Authorization) -> dict[str, Any]:
    kept = ("id", "client", "person", "session", "sid", "scopes", "audiences", "created_at", "expires_at")
    said = msgspec.to_builtins(one)
    return {name: said[name] for name in kept} | {"bound_to_key": bool(one.jkt)}
