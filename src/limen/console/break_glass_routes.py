"""`/break-glass`: the way in that needs neither a provider nor mail. It is always there, sealed or not."""

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.responses import Response

from limen.administrator.session_values import SignedIn, TooMany
from limen.console import answers
from limen.console.guard import AnyCaller, Caller, FormCaller

router = APIRouter()

PROGRAM = "limen break-glass"
WAIT = "Too many attempts from this network. Wait {} minutes; what is printed is never refused for that."


@router.get("/break-glass")
def page(caller: AnyCaller) -> Response:
    """Ask for the sealed credential."""
    return _page(caller)


@router.post("/break-glass")
def open_with(caller: FormCaller, credential: Annotated[str, Form()] = "") -> Response:
    """Let in whoever has it: a browser by a session, a program (`limen break-glass use`) by a token."""
    answer = caller.parts.break_glass.open(credential, caller.visit)
    answers.count(caller, answer)
    if isinstance(answer, SignedIn):
        if caller.wants_json:
            return _token(caller, answer)
        return answers.sign_in_cookies(answers.redirect("/"), answer)
    words, status = answers.WRONG, 403
    if isinstance(answer, TooMany):
        words, status = WAIT.format(max(1, -(-int(answer.wait_s) // 60))), 429
    if caller.wants_json:
        return answers.json_answer(caller, {"error": words, "detail": words}, status)
    return _page(caller, error=words, status=status)


def _token(caller: Caller, answer: SignedIn) -> Response:
    session = answer.opened.session
    sessions = caller.parts.sessions
    with sessions.ledger.entry(session.person, "break-glass", ip=caller.browser.ip) as entry:
        issued = sessions.open_program(entry, session.id, PROGRAM)
    assert issued is not None
    token, expires_at = issued
    body = {"token": token.reveal(), "expires_at": expires_at, "person": session.person}
    return answers.json_answer(caller, body)


def _page(caller: Caller, *, error: str = "", status: int = 200) -> Response:
    return answers.page(
        caller, "break_glass.html", status=status, action="/break-glass", error=error, person=None
    )
