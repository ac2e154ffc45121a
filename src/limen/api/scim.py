"""SCIM clients over the admin API: which there are, their tokens, and people handed over to them."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from pydantic import Field

from limen.administrator.scim_clients import ScimClients
from limen.api.body import Body, Why
from limen.api.deps import Actor, AdminDeps, Deps, decided, demand_roles
from limen.api.scim_door import PATH
from limen.core.ids import EntityRef
from limen.store import scim as rows
from limen.store.scim_tokens import TOKEN_MAX_S

router = APIRouter(tags=["scim"])


class NewToken(Body):
    """A token to make. With `overlap_s` the client's other tokens end after so long; 0 ends them now."""

    name: str = Field(default="", max_length=64)
    expires_s: float = Field(gt=0, le=TOKEN_MAX_S, description="In seconds.")
    overlap_s: float | None = Field(default=None, ge=0, le=TOKEN_MAX_S)
    reason: str = ""


class Adoption(Body):
    """People to hand over to a client."""

    people: list[str] = Field(min_length=1, max_length=1000)
    reason: Why


def _clients(deps: AdminDeps) -> ScimClients:
    return ScimClients(deps.desk)


def _kept_with_roles(deps: AdminDeps, client: str) -> tuple[EntityRef, ...]:
    """Return the people with a role whom a client keeps, and the groups of its that give one."""
    holders = set(deps.books.holders())
    with deps.store.read() as connection:
        people, groups = rows.list_targets(connection, client)
    filled = next((one.fills for one in deps.desk.catalogue().sources.scim if one.name == client), ())
    named = {*groups, *filled}
    return (
        *(EntityRef("User", name) for name in sorted(holders & people)),
        *(EntityRef("Group", name) for name in sorted(named)),
    )


@router.get("/v1/scim", summary="List SCIM clients", **decided("read", "sources"))
def list_clients(deps: Deps) -> list[dict[str, Any]]:
    """Return SCIM clients: how many people and groups each keeps, when it called last, and its tokens.

    A client that the bundle does not name any more, and that left something here, is `configured: false`.
    """
    return _clients(deps).overview()


@router.post(
    "/v1/scim/{client}/tokens",
    summary="Make a SCIM client's token",
    status_code=201,
    **decided("admin", "sources"),
)
def make_token(client: str, body: NewToken, request: Request, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Make a token, and return it: this once; with where the client finds Limen.

    With it people can be changed, so those with a role of Limen among them make it about roles too.
    """
    demand_roles(request, deps, *_kept_with_roles(deps, client))
    clients, about = _clients(deps), {"label": body.name, "life_s": body.expires_s, "reason": body.reason}
    ended: tuple[str, ...] = ()
    if body.overlap_s is None:
        token, made = clients.issue(client, actor=actor, **about)  # type: ignore[arg-type]
    else:
        token, made, ended = clients.rotate(client, overlap_s=body.overlap_s, actor=actor, **about)  # type: ignore[arg-type]
    return {
        **msgspec.to_builtins(made),
        "token": token.reveal(),
        "url": f"{deps.desk.auth_origin}{PATH}",
        "shortened": list(ended),
    }


@router.delete(
    "/v1/scim-tokens/{token}",
    summary="Revoke a SCIM client's token",
    status_code=204,
    **decided("admin", "sources"),
)
def revoke_token(token: str, deps: Deps, actor: Actor, reason: str = "") -> None:
    """End a token now: the next call with it is refused."""
    _clients(deps).revoke(token, actor=actor, reason=reason)


@router.post("/v1/scim/{client}/people", summary="Hand people over", **decided("admin", "sources"))
def adopt(client: str, body: Adoption, request: Request, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Hand people over to a client: it finds them by `userName` from now on, and keeps them."""
    demand_roles(request, deps, *(EntityRef("User", name) for name in body.people))
    return {"adopted": _clients(deps).adopt(client, body.people, actor=actor, reason=body.reason)}
