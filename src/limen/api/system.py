"""The system itself over the admin API: status, health, metrics, the first administrator."""

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from limen.administrator.links import make_first_admin_link
from limen.api.deps import Actor, Deps, decided

router = APIRouter(tags=["system"])


@router.get("/v1/status", summary="Show the system", **decided("read", "system"))
def show_status(deps: Deps) -> dict[str, Any]:
    """Return what runs, where, and under which bundle."""
    return deps.status()


@router.post(
    "/v1/system/first-admin-link", summary="Make the first administrator's link", **decided("admin", "system")
)
def first_admin_link(deps: Deps, actor: Actor) -> dict[str, str]:
    """Return a one-time link, valid one hour, that enrols the first administrator of an empty system."""
    return {"link": make_first_admin_link(deps.desk, actor=actor).reveal()}


@router.get("/healthz", summary="Whether the process lives")
def healthz() -> dict[str, str]:
    """Answer."""
    return {"status": "ok"}


@router.get("/readyz", summary="Whether it would serve")
def readyz(deps: Deps, response: Response) -> dict[str, str]:
    """Answer 200 once the database is open and a bundle is in force."""
    if deps.ready():
        return {"status": "ok"}
    response.status_code = 503
    return {"status": "starting"}


@router.get("/metrics", summary="Prometheus metrics")
def metrics(deps: Deps) -> Response:
    """Return this process's metrics."""
    return Response(generate_latest(deps.registry), media_type=CONTENT_TYPE_LATEST)
