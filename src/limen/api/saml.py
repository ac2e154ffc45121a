"""SAML over the admin API: what others are to be told of Limen, and the keys by which they know it."""

from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import Field

from limen.administrator.saml_keys import SUCCESSOR_AFTER_S, SamlKeys
from limen.administrator.saml_names import SamlNames
from limen.api.body import Body, Why
from limen.api.deps import Actor, AdminDeps, Deps, decided

AFTER_MAX_S = 366 * 86_400.0

router = APIRouter(tags=["saml"])


class Rotation(Body):
    """When the successor begins to sign: everybody who trusts Limen has its certificate by then."""

    after_s: float = Field(default=SUCCESSOR_AFTER_S, ge=0, le=AFTER_MAX_S, description="In seconds.")
    reason: Why


@router.get("/v1/saml/metadata", **decided("read", "identity"))
def metadata(deps: Deps, provider: str = "") -> dict[str, Any]:
    """Return Limen's metadata, XML, and where it can be fetched: for apps, or for the provider named."""
    names = SamlNames(deps.desk, _keys(deps))
    if provider:
        return {"metadata": names.provider_metadata(provider), "url": names.entity_id(provider)}
    return {"metadata": names.metadata(), "url": names.issuer}


@router.get("/v1/saml/keys", **decided("read", "identity"))
def list_keys(deps: Deps) -> list[dict[str, Any]]:
    """List the keys that sign, or will, oldest first."""
    return [msgspec.to_builtins(row) for row in _keys(deps).list()]


@router.post("/v1/saml/keys", **decided("admin", "identity"))
def rotate(body: Rotation, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Make the successor of the key that signs, and publish it at once."""
    made = _keys(deps).rotate(actor, reason=body.reason, after_s=body.after_s)
    return dict(msgspec.to_builtins(made))


def _keys(deps: AdminDeps) -> SamlKeys:
    return SamlKeys(deps.ledger, deps.clock, deps.desk.sealer)
