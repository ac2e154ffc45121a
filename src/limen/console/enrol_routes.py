"""Enrolment through a one-time link: `/enrol/<token>`, then `/enrol/second`, then `/enrol/codes`."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Form
from starlette.responses import Response

from limen.administrator.enrolment import FirstStep, Invitation
from limen.administrator.enrolment_life import EnrolmentState
from limen.administrator.session_values import Over, SignedIn, TooMany, Wrong
from limen.console import answers, cookies, pages
from limen.console.guard import AnyCaller, Caller, FormCaller, ScriptCaller, read_credential, require_session
from limen.core.errors import Invalid
from limen.core.secret import Secret
from limen.information.identity.passwords import LENGTH_MIN_WITH_SECOND

router = APIRouter()

Text = Annotated[str, Form()]

STEPS = 3
_STEP = {EnrolmentState.CHOOSE: "choose", EnrolmentState.TOTP: "totp", EnrolmentState.PASSKEY: "passkey"}


@router.get("/enrol/second")
def second_page(caller: AnyCaller) -> Response:
    """Show where the enrolment of this browser is."""
    return _second(caller)


@router.post("/enrol/second")
def second(caller: FormCaller, method: Text = "", code: Text = "") -> Response:
    """Choose a second factor, or prove it."""
    if method in ("passkey", "totp"):
        chosen = caller.parts.enrolment.choose(method, caller.visit)
        return _gone(caller) if isinstance(chosen, Over) else answers.redirect("/enrol/second")
    answer = caller.parts.enrolment.code(code, caller.visit)
    if isinstance(answer, SignedIn):
        return _to_codes(caller, answer)
    return _gone(caller) if isinstance(answer, Over) else _second(caller, error=answers.WRONG, status=403)


@router.post("/enrol/passkey/options")
def passkey_options(caller: ScriptCaller) -> Response:
    """Give options to make a passkey."""
    options = caller.parts.enrolment.passkey_options(caller.visit)
    if isinstance(options, Over):
        return answers.json_answer(caller, {"error": answers.OVER}, 403)
    return answers.json_answer(caller, options)


@router.post("/enrol/passkey")
def passkey(caller: ScriptCaller, body: Annotated[dict[str, Any], Body()]) -> Response:
    """Take the new passkey."""
    credential = read_credential(body)
    answer = caller.parts.enrolment.passkey(credential, str(body.get("name") or ""), caller.visit)
    if isinstance(answer, Over):
        return answers.json_answer(caller, {"error": answers.OVER}, 403)
    response = answers.json_answer(caller, {"next": "/enrol/codes"})
    return _keep_flow(caller, answers.sign_in_cookies(response, answer))


@router.get("/enrol/codes")
def codes_page(caller: AnyCaller) -> Response:
    """Show the recovery codes, until they are kept."""
    session = require_session(caller)
    codes = caller.parts.enrolment.codes(caller.visit)
    if not codes:
        return answers.redirect("/")
    return answers.page(
        caller,
        "enrol.html",
        step="recovery",
        action="/enrol/codes",
        recovery_codes=codes,
        position=(STEPS, STEPS),
        person={"username": session.person, "name": ""},
    )


@router.post("/enrol/codes")
def codes_kept(caller: FormCaller) -> Response:
    """Forget the codes in clear, and go to my apps."""
    caller.parts.enrolment.kept(caller.visit)
    response = answers.redirect("/")
    cookies.clear_cookie(response, cookies.SIGN_IN)
    return response


@router.get("/enrol/{token}")
def link_page(caller: AnyCaller, token: str) -> Response:
    """Show what a link is for. Looking spends nothing: mail scanners look at links, too."""
    invitation = caller.parts.enrolment.look(token)
    return _gone(caller) if invitation is None else _first(caller, token, invitation)


@router.post("/enrol/{token}")
def link(  # noqa: PLR0917 - one parameter a form field
    caller: FormCaller,
    token: str,
    password: Text = "",
    password_again: Text = "",
    username: Text = "",
    name: Text = "",
    email: Text = "",
) -> Response:
    """Take name and password."""
    values = {"username": username, "name": name, "email": email}
    step = FirstStep(Secret(password), Secret(password_again), **values)
    invitation = caller.parts.enrolment.look(token)
    try:
        answer = caller.parts.enrolment.begin(token, step, caller.visit)
    except Invalid as error:
        if invitation is None:
            return _gone(caller)
        words = f"{error.message} {error.remedy}"
        return _first(caller, token, invitation, error=words, values=values, status=422)
    if isinstance(answer, Secret):
        response = answers.redirect("/enrol/second")
        cookies.set_cookie(response, cookies.SIGN_IN, answer.reveal())
        return response
    if isinstance(answer, Over) or invitation is None:
        return _gone(caller)
    words = answers.WRONG if isinstance(answer, Wrong) else answers.wait_words(answer.wait_s)
    status = 429 if isinstance(answer, TooMany) else 403
    return _first(caller, token, invitation, error=words, status=status)


def _first(
    caller: Caller, token: str, invitation: Invitation, *, error: str = "", status: int = 200,
    values: dict[str, str] | None = None,
) -> Response:  # fmt: skip
    person = {"username": invitation.person, "name": invitation.name} if invitation.person else None
    common: dict[str, Any] = {"action": f"/enrol/{token}", "error": error, "person": person}
    if invitation.knows_password:
        # The password stands already: the same field as at a step-up asks for it.
        return answers.page(
            caller,
            "stepup.html",
            status=status,
            need="enrol",
            sentence="Type your password first, then pair a second factor.",
            methods=("password",),
            **common,
        )
    return answers.page(
        caller,
        "enrol.html",
        status=status,
        step="password",
        values=values or {},
        position=(1, STEPS),
        password_min=LENGTH_MIN_WITH_SECOND,
        **common,
    )


def _second(caller: Caller, *, error: str = "", status: int = 200) -> Response:
    pending = caller.parts.enrolment.pending(caller.visit)
    if pending is None:
        return _gone(caller)
    return answers.page(
        caller,
        "enrol.html",
        status=status,
        step=_STEP[pending.state],
        action="/enrol/second",
        error=error,
        person={"username": pending.username, "name": pending.name},
        position=(2, STEPS),
        qr_svg=pages.qr_svg(pending.uri.reveal()) if pending.uri else "",
        secret=pending.secret.reveal() if pending.secret else "",
    )


def _to_codes(caller: Caller, answer: SignedIn) -> Response:
    response = answers.sign_in_cookies(answers.redirect("/enrol/codes"), answer)
    return _keep_flow(caller, response)


def _keep_flow(caller: Caller, response: Response) -> Response:
    """The codes are still to be shown to this browser, now that it has a session."""
    cookies.set_cookie(response, cookies.SIGN_IN, caller.visit.flow_token)
    return response


def _gone(caller: Caller) -> Response:
    return answers.message(
        caller,
        "This link is over",
        "It works once, and for one hour. Ask an administrator for a new one.",
        status=404,
        door="closed",
    )
