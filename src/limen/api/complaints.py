"""Complaints over the admin API: what people say is wrong, and the answers."""

from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import Field

from limen.administrator.complaints import TEXT_MAX, Complaints
from limen.api.body import Body
from limen.api.decisions import of_resource
from limen.api.deps import Actor, AdminDeps, Deps, decided
from limen.core.record import DecisionRecord

router = APIRouter(tags=["decisions"])


class NewAnswer(Body):
    """An answer to a complaint."""

    text: str = Field(description=f"What the person is told; at most {TEXT_MAX:,} characters.")


@router.get("/v1/complaints", summary="List complaints", **decided("read", "decisions", about=of_resource))
def list_complaints(
    deps: Deps,
    person: str | None = None,
    owner: str | None = None,
    resource: str | None = None,
    waiting: bool = True,
) -> list[dict[str, Any]]:
    """Return what people say is wrong, the newest first; those without an answer, unless told otherwise.

    `resource`: of it and its routes.
    """
    found = _complaints(deps).listed(person=person, owner=owner, waiting=waiting)
    named = [one for one in found if resource is None or _is_part(one.resource, resource)]
    return [msgspec.structs.asdict(one) for one in named]


@router.post(
    "/v1/complaints/{complaint}/answer", summary="Answer a complaint", **decided("admin", "decisions")
)
def answer_complaint(complaint: str, body: NewAnswer, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Answer what a person said is wrong. It is shown on their page of sessions and keys."""
    return msgspec.structs.asdict(_complaints(deps).answer(complaint, body.text, actor=actor))


def _is_part(name: str, resource: str) -> bool:
    return name == resource or name.startswith(f"{resource}/")


def _complaints(deps: AdminDeps) -> Complaints:
    return Complaints(deps.desk, _files_none)


def _files_none(_decision: str) -> DecisionRecord | None:
    """Operators answer complaints; only the person themselves makes one, on the sign-in host."""
    return None
