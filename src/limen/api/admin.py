"""The admin API: one FastAPI application on a Unix socket. `describe` is its OpenAPI document."""

from typing import Any

from fastapi import FastAPI

from limen import __version__
from limen.api import decisions, groups, people, policy, secrets, sessions, system
from limen.api.deps import AdminDeps
from limen.api.problems import install_problems


def create_admin(deps: AdminDeps | None) -> FastAPI:
    """Return the application. Without parts it can describe itself, and nothing else."""
    app = FastAPI(title="Limen admin API", version=__version__, docs_url=None, redoc_url=None)
    app.state.deps = deps
    install_problems(app)
    for module in (system, people, groups, policy, sessions, decisions, secrets):
        app.include_router(module.router)
    return app


def describe() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return create_admin(None).openapi()
