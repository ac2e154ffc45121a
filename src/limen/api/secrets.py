"""Secrets over the admin API: set and removed, never read."""

from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import SecretStr

from limen.administrator.policies import injected_secrets
from limen.api.body import Body
from limen.api.deps import Actor, Deps, decided
from limen.core.secret import Secret
from limen.store import secrets

router = APIRouter(tags=["secrets"])


class NewSecret(Body):
    """The value of a secret."""

    value: SecretStr
    reason: str = ""


@router.get("/v1/secrets", summary="List the names of secrets", **decided("read", "secrets"))
def list_secrets(deps: Deps) -> list[dict[str, Any]]:
    """Return names, dates and who set them."""
    with deps.store.read() as connection:
        return [msgspec.to_builtins(entry) for entry in secrets.list_secrets(connection)]


@router.put("/v1/secrets/{name}", summary="Set a secret", status_code=204, **decided("admin", "secrets"))
def set_secret(name: str, body: NewSecret, deps: Deps, actor: Actor) -> None:
    """Store a secret, sealed."""
    value = Secret(body.value.get_secret_value())
    injected = name in injected_secrets(deps.authority.active().catalogue)
    with deps.ledger.entry(actor, body.reason) as entry:
        secrets.set_secret(entry.tx, name, value, deps.sealer, gateway=injected)
        entry.note("secret.set", target=name)


@router.delete(
    "/v1/secrets/{name}", summary="Remove a secret", status_code=204, **decided("admin", "secrets")
)
def remove_secret(name: str, deps: Deps, actor: Actor, reason: str = "") -> None:
    """Remove a secret."""
    with deps.ledger.entry(actor, reason) as entry:
        secrets.delete_secret(entry.tx, name)
        entry.note("secret.removed", target=name)
