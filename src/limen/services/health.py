"""Health, readiness and metrics as a bare ASGI application: what a gateway answers about itself."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Asgi = Callable[[Mapping[str, Any], Any, Callable[[dict[str, Any]], Awaitable[None]]], Awaitable[None]]


def health_app(
    ready: Callable[[], bool], describe: Callable[[], Mapping[str, object]], registry: CollectorRegistry
) -> Asgi:
    """Return the application: `/healthz` lives, `/readyz` would serve, `/metrics` for Prometheus."""

    def answer(path: str) -> tuple[int, str, bytes]:
        if path == "/healthz":
            return 200, "application/json", b'{"status":"ok"}'
        if path == "/readyz":
            serves = ready()
            body = {"status": "ok" if serves else "starting", **describe()}
            return 200 if serves else 503, "application/json", msgspec.json.encode(body)
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(registry)
        return 404, "text/plain", b"not found"

    async def app(
        scope: Mapping[str, Any], _receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]
    ) -> None:
        assert scope["type"] == "http"
        status, media_type, body = answer(scope["path"])
        headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
