"""Recovery: `/recover` of whoever cannot sign in, and `/recover/approve` of whoever approves it.

The first is open to strangers: each page is the same whether there is such a person or not.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Form
from starlette.responses import Response

from limen.administrator.recovery import Shown
from limen.administrator.recovery_approval import ROLES_PART, Demand
from limen.administrator.recovery_life import RecoveryState
from limen.administrator.rulings import StepUpWanted, demand
from limen.administrator.session_values import Over, TooMany, Wrong
from limen.administrator.touched import Books
from limen.console import answers, cookies
from limen.console.destinations import Target
from limen.console.guard import AnyCaller, Caller, FormCaller, require_session
from limen.core.errors import Invalid, LimenError, NotFound
from limen.core.ids import EntityRef
from limen.core.secret import Secret
from limen.store.sessions import Session

router = APIRouter()

Text = Annotated[str, Form()]

APPROVE = "/recover/approve"
NOT_ENOUGH = "That was not enough, or did not match. All that you give must be right."


@router.get("/recover")
def ask_page(caller: AnyCaller) -> Response:
    """Ask who cannot sign in."""
    return _page(caller, "ask", "/recover")


@router.post("/recover")
def ask(caller: FormCaller, username: Text = "") -> Response:
    """Begin. Who is told what does not depend on whether there is such a person."""
    answer = caller.parts.recovery.ask(username, caller.visit)
    if isinstance(answer, TooMany):
        return _wait(caller, "ask", "/recover", answer)
    response = answers.redirect("/recover/next")
    cookies.set_cookie(response, cookies.SIGN_IN, answer.reveal())
    return response


@router.get("/recover/next")
def next_page(caller: AnyCaller) -> Response:
    """Show where the recovery of this browser is."""
    return _next(caller)


@router.post("/recover/next")
def show(caller: FormCaller, password: Text = "", code: Text = "", recovery_code: Text = "") -> Response:
    """Look at what somebody still has."""
    shown = Shown(Secret(password), code.strip(), recovery_code.strip())
    answer = caller.parts.recovery.show(shown, caller.visit)
    if isinstance(answer, TooMany):
        return _next(caller, error=answers.wait_words(answer.wait_s), status=429, wait_s=answer.wait_s)
    if isinstance(answer, Wrong):
        return _next(caller, error=NOT_ENOUGH, status=403)
    return _gone(caller) if isinstance(answer, Over) else answers.redirect("/recover/next")


@router.post("/recover/take")
def take(caller: FormCaller) -> Response:
    """Go on to setting sign-in up anew."""
    answer = caller.parts.recovery.take(caller.visit)
    if isinstance(answer, Over):
        return _gone(caller)
    response = answers.redirect(answer)
    cookies.clear_cookie(response, cookies.SIGN_IN)
    return response


@router.get("/recover/link/{token}")
def link_page(caller: AnyCaller, token: str) -> Response:
    """Show what a mailed link is for. Looking spends nothing."""
    mailed = caller.parts.recovery.look(token)
    if mailed is None:
        return _gone(caller)
    asked = {"at": mailed.asked_at, "ip": mailed.ip, "agent": mailed.agent, "person": mailed.person}
    return _page(caller, "link", f"/recover/link/{token}", asked=asked)


@router.post("/recover/link/{token}")
def link(caller: FormCaller, token: str, answer: Text = "") -> Response:
    """Go on in this browser, or stop it."""
    if answer == "stop":
        if not caller.parts.recovery.stop(token, caller.visit):
            return _gone(caller)
        said = "The recovery is stopped, and an event says so. Tell your administrators what happened."
        return answers.message(caller, "Thank you for saying so", said, door="closed")
    opened = caller.parts.recovery.open_link(token, caller.visit)
    if isinstance(opened, Over):
        return _gone(caller)
    response = answers.redirect("/recover/next")
    cookies.set_cookie(response, cookies.SIGN_IN, opened.reveal())
    return response


# --- who approves ------------------------------------------------------------------------------------


@router.get(APPROVE)
def approve_page(caller: AnyCaller) -> Response:
    """Ask for what is read out."""
    require_session(caller)
    return _page(caller, "approve", APPROVE)


@router.post(APPROVE)
def look_up(caller: FormCaller, code: Text = "") -> Response:
    """Show who recovers under it."""
    session = require_session(caller)
    try:
        found = caller.parts.approvals.look(code, session.person, _demand(caller, session))
    except StepUpWanted as wanted:
        return _step_up(wanted)
    except NotFound as error:
        return _page(caller, "approve", APPROVE, error=_words(error), status=404)
    return _page(caller, "confirm", f"{APPROVE}/confirm", candidate=found, code=code)


@router.post(f"{APPROVE}/confirm")
def approve(caller: FormCaller, code: Text = "", reason: Text = "") -> Response:
    """Approve it."""
    session = require_session(caller)
    approvals, asks = caller.parts.approvals, _demand(caller, session)
    try:
        person = approvals.approve(code, session.person, reason, asks)
    except StepUpWanted as wanted:
        return _step_up(wanted)
    except NotFound as error:
        return _page(caller, "approve", APPROVE, error=_words(error), status=404)
    except Invalid as error:
        found = approvals.look(code, session.person, asks)
        more: dict[str, Any] = {"candidate": found, "code": code, "status": 422}
        return _page(caller, "confirm", f"{APPROVE}/confirm", error=_words(error), **more)
    said = f"{person} can go on now, in the browser that showed the code."
    home = {"url": "/", "label": "Go to my apps", "method": "get"}
    return answers.message(caller, "Approved", said, "They are told so, too.", actions=[home], door="open")


def _demand(caller: Caller, session: Session) -> Demand:
    ip, authority = caller.browser.ip, caller.parts.deps.authority

    def ask(part: str, person: str) -> None:
        user = EntityRef("User", person)
        if part == ROLES_PART and authority is not None and not Books(authority).holds(user):
            return
        demand(authority, session, part, ip)

    return ask


def _step_up(wanted: StepUpWanted) -> Response:
    return answers.redirect(answers.with_flow("/login/step-up", Target(path=APPROVE, need=wanted.need)))


# --- pages -------------------------------------------------------------------------------------------


def _next(caller: Caller, *, error: str = "", status: int = 200, wait_s: float = 0.0) -> Response:
    pending = caller.parts.recovery.pending(caller.visit)
    if pending is None:
        return _gone(caller)
    if pending.state is RecoveryState.READY:
        return _page(caller, "ready", "/recover/take")
    response = _page(
        caller,
        "next",
        "/recover/next",
        status=status,
        error=error,
        spoken=pending.spoken,
        alone=pending.alone,
        mailed=pending.mailed,
        approve_url=f"{caller.parts.desk.auth_origin}{APPROVE}",
    )
    if wait_s:
        response.headers["retry-after"] = str(int(wait_s) + 1)
    return response


def _wait(caller: Caller, step: str, action: str, answer: TooMany) -> Response:
    response = _page(caller, step, action, error=answers.wait_words(answer.wait_s), status=429)
    response.headers["retry-after"] = str(int(answer.wait_s) + 1)
    return response


def _page(caller: Caller, step: str, action: str, *, status: int = 200, **more: Any) -> Response:
    return answers.page(caller, "recover.html", status=status, step=step, action=action, **more)


def _words(error: LimenError) -> str:
    return f"{error.message} {error.remedy}".strip()


def _gone(caller: Caller) -> Response:
    again = {"url": "/recover", "label": "Begin again", "method": "get"}
    said = "It took longer than an hour, was finished or stopped, or was tried too often."
    return answers.message(caller, "This recovery is over", said, status=404, door="closed", actions=[again])
