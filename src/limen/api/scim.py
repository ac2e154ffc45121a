"""SCIM clients over the admin API: which there are, their tokens, and people handed over to them."""

from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import Field

from limen.administrator.scim_clients import ScimClients
from limen.api.body import Body, Why
from limen.api.deps import Actor, AdminDeps, Deps, decided
from limen.api.scim_door import PATH
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
def make_token(client: str, body: NewToken, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Make a token, and return it: this once; with where the client finds Limen."""
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
def adopt(client: str, body: Adoption, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Hand people over to a client: it finds them by `userName` from now on, and keeps them."""
    return {"adopted": _clients(deps).adopt(client, body.people, actor=actor, reason=body.reason)}
