"""Complaints: from a page that denied or warned ("this is wrong") to whoever looks after it, and back."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Form
from starlette.responses import Response

from limen.administrator.complaints import TEXT_MAX
from limen.console import answers
from limen.console.destinations import Target
from limen.console.guard import AnyCaller, Caller, FormCaller, require_session
from limen.core.errors import Invalid
from limen.store.sessions import Session

router = APIRouter()

Text = Annotated[str, Form()]


@router.get("/complaints/new")
def complaint_page(caller: AnyCaller, decision: str = "") -> Response:
    """Ask what is wrong with a decision about this person."""
    if caller.session is None:
        url = caller.request.url
        return answers.redirect(answers.with_flow("/login", Target(path=f"{url.path}?{url.query}")))
    return _form(caller, caller.session, decision)


@router.post("/complaints")
def file_complaint(caller: FormCaller, decision: Text = "", text: Text = "") -> Response:
    """Take what a person says."""
    session = require_session(caller)
    try:
        filed = caller.parts.complaints.file(session.person, decision, text, ip=caller.browser.ip)
    except Invalid as error:
        words = f"{error.message} {error.remedy}"
        return _form(caller, session, decision, error=words, text=text[:TEXT_MAX], status=400)
    return answers.message(
        caller,
        "Thank you for saying so",
        f"It went to {filed.owner or 'the people who run Limen here'}.",
        "The answer will stand on your page of sessions and keys.",
        actions=[{"url": "/account#complaints", "label": "See it there", "method": "get"}],
    )


@router.post("/complaints/answer")
def answer_complaint(caller: FormCaller, id: Text = "", text: Text = "") -> Response:  # noqa: A002 - the form's field
    """Take the answer of whoever looks after the resource."""
    person = require_session(caller).person
    caller.parts.complaints.answer(id, text, actor=person, owner=person)
    return answers.redirect("/account#asked-of-me")


def listed_for(caller: Caller, person: str) -> dict[str, Any]:
    """Return what a person's own page shows of complaints: theirs, and those addressed to them."""
    found = caller.parts.complaints
    return {
        "complaints": [msgspec.structs.asdict(one) for one in found.listed(person=person)],
        "asked_of_me": [msgspec.structs.asdict(one) for one in found.listed(owner=person)],
    }


def _form(
    caller: Caller, session: Session, decision: str, *, error: str = "", text: str = "", status: int = 200
) -> Response:
    about = caller.parts.complaints.about(session.person, decision)
    return answers.page(
        caller,
        "complaint.html",
        status=status,
        action="/complaints",
        decision_id=about.record.id,
        resource=about.resource,
        owner=about.owner,
        at=about.record.at,
        text_max=TEXT_MAX,
        text=text,
        error=error,
    )
