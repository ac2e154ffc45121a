"""Static files and public keys for everybody; health and metrics for this machine alone."""

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from limen.console import pages
from limen.console.deps import Parts
from limen.core.errors import NotFound

static = APIRouter()
public = APIRouter()
internal = APIRouter()

YEAR_S = 31_536_000


@static.get("/.limen/static/{name}")
def asset(name: str) -> Response:
    """Serve one of the listed files. Its digest stands in the URL, so it may be kept for ever."""
    found = pages.static_assets().get(name)
    if found is None:
        raise NotFound("There is no such file.", remedy="Reload the page.")
    headers = {
        "cache-control": f"public, max-age={YEAR_S}, immutable",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
    }
    return Response(found.body, media_type=found.media_type, headers=headers)


@public.get("/.well-known/limen/jwks.json")
def jwks(request: Request) -> Response:
    """Publish the keys by which apps verify identity assertions (RFC 7517)."""
    parts = _parts(request)
    return JSONResponse(dict(parts.deps.jwks()), headers={"cache-control": "public, max-age=60"})


@internal.get("/healthz")
def health() -> Response:
    """Say that the process answers."""
    return PlainTextResponse("ok\n")


@internal.get("/readyz")
def readiness(request: Request) -> Response:
    """Say whether the process can do its work."""
    ready = _parts(request).deps.ready()
    return PlainTextResponse("ready\n" if ready else "not ready\n", status_code=200 if ready else 503)


@internal.get("/metrics")
def metrics(request: Request) -> Response:
    """Render the process's metrics."""
    body = generate_latest(_parts(request).deps.registry)
    return Response(body, media_type=CONTENT_TYPE_LATEST)


def _parts(request: Request) -> Parts:
    parts = request.app.state.parts
    assert isinstance(parts, Parts)
    return parts
