"""The way in: `/authorize`, password, second factor, passkey. Every failure has one page."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Form
from starlette.responses import Response

from limen.administrator.session_values import Answer, Over, SecondStep, SignedIn, TooMany
from limen.administrator.step_up import is_met
from limen.console import answers, cookies
from limen.console.destinations import Target, parse_authorize, parse_flow, render_flow
from limen.console.guard import AnyCaller, Caller, FormCaller, ScriptCaller, read_credential
from limen.console.provider_choice import (
    buttons,
    go_on,
    provider_for,
    routes_by_domain,
    start_url,
    titles_of,
)
from limen.core.secret import Secret

PASSWORD_ASKED = "password"  # noqa: S105 - value of a query parameter
STEP_UP, STEP_UP_HARDWARE = "up", "hardware"  # values of `step`: by any passkey, by a hardware key

router = APIRouter()

Text = Annotated[str, Form()]


@router.get("/authorize")
def authorize(caller: AnyCaller) -> Response:
    """Bring a session to an app, by way of whatever it lacks."""
    target = parse_authorize(caller.request.query_params, caller.parts.deps.catalogue())
    if caller.session is None:
        return answers.redirect(answers.with_flow("/login", target))
    return answers.redirect(answers.next_url(caller, caller.session, target))


@router.get("/login")
def login_page(caller: AnyCaller, flow: str = "", ask: str = "") -> Response:
    """Show the sign-in form, or go on if nothing is lacking."""
    target = read_target(caller, flow)
    if caller.session is not None and is_met(target.wanted, caller.session, caller.parts.deps.clock.now()):
        return answers.redirect(answers.next_url(caller, caller.session, target))
    return _login(caller, target, ask_password=ask == PASSWORD_ASKED)


@router.post("/login")
def login(caller: FormCaller, username: Text = "", password: Text = "", flow: Text = "") -> Response:
    """Check a password; without one, a name that is of a provider's domain leads there."""
    target, catalogue = read_target(caller, flow), caller.parts.deps.catalogue()
    if not password and routes_by_domain(catalogue):
        source = provider_for(catalogue, username)
        if source is None:
            return _login(caller, target, username=username[:128], ask_password=True)
        return go_on(caller, titles_of(catalogue)[source], start_url(source, target, username.strip()))
    answer = caller.parts.sign_in.password(username, Secret(password), caller.visit)
    answers.count(caller, answer)
    if isinstance(answer, SecondStep):
        response = answers.redirect(answers.with_flow("/login/code", target))
        cookies.set_cookie(response, cookies.SIGN_IN, answer.token.reveal())
        return response
    if isinstance(answer, SignedIn):
        return finish(caller, answer, target)
    return _refuse_login(caller, answer, target, username)


@router.get("/login/code")
def code_page(caller: AnyCaller, flow: str = "") -> Response:
    """Ask for the second factor."""
    return _code(caller, read_target(caller, flow))


@router.post("/login/code")
def code(caller: FormCaller, code: Text = "", flow: Text = "") -> Response:
    """Check a TOTP or recovery code."""
    target = read_target(caller, flow)
    answer = caller.parts.sign_in.code(code, caller.visit)
    answers.count(caller, answer)
    if isinstance(answer, SignedIn):
        return finish(caller, answer, target)
    if isinstance(answer, Over):
        return _refuse_login(caller, answer, target, "")
    return _code(caller, target, error=error_words(answer), status=status_of(answer))


@router.post("/login/passkey/options")
def passkey_options(caller: ScriptCaller, step: str = "") -> Response:
    """Give a challenge: to anybody, or (`step`) to whoever is half-way or steps up."""
    person = None
    if step == "code":
        owner = caller.parts.sign_in.pending(caller.visit)
        person = owner.person if owner else None
    elif step in (STEP_UP, STEP_UP_HARDWARE) and caller.session is not None:
        person = caller.session.person
    options = caller.parts.sign_in.challenge(caller.visit, person, hardware=step == STEP_UP_HARDWARE)
    if isinstance(options, TooMany):
        return answers.json_answer(caller, {"error": answers.wait_words(options.wait_s)}, 429)
    return answers.json_answer(caller, options)


@router.post("/login/passkey")
def passkey(caller: ScriptCaller, body: Annotated[dict[str, Any], Body()]) -> Response:
    """Check a passkey."""
    target = read_target(caller, str(body.get("flow", "")))
    credential = read_credential(body)
    answer = caller.parts.sign_in.passkey(credential, caller.visit)
    answers.count(caller, answer)
    if not isinstance(answer, SignedIn):
        return answers.json_answer(caller, {"error": error_words(answer)}, status_of(answer))
    url = answers.next_url(caller, answer.opened.session, target)
    return answers.sign_in_cookies(answers.json_answer(caller, {"next": url}), answer)


# --- shared with the other ways in -------------------------------------------------------------------


def read_target(caller: Caller, flow: str) -> Target:
    """Return where this sign-in leads."""
    return parse_flow(flow, caller.parts.deps.catalogue())


def finish(caller: Caller, answer: SignedIn, target: Target) -> Response:
    """Hand the session over, and go on."""
    response = answers.redirect(answers.next_url(caller, answer.opened.session, target))
    return answers.sign_in_cookies(response, answer)


def error_words(answer: Answer) -> str:
    """Return what the person is told. It does not depend on who they are."""
    if isinstance(answer, TooMany):
        return answers.wait_words(answer.wait_s)
    return answers.OVER if isinstance(answer, Over) else answers.WRONG


def status_of(answer: Answer) -> int:
    """Return the HTTP status of a refusal."""
    return 429 if isinstance(answer, TooMany) else 403


def _refuse_login(caller: Caller, answer: Answer, target: Target, username: str) -> Response:
    response = _login(
        caller,
        target,
        error=error_words(answer),
        status=status_of(answer),
        username=username[:128],
        ask_password=True,
    )
    if isinstance(answer, TooMany):
        response.headers["retry-after"] = str(int(answer.wait_s) + 1)
    if isinstance(answer, Over):
        cookies.clear_cookie(response, cookies.SIGN_IN)
    return response


def _login(
    caller: Caller,
    target: Target,
    *,
    error: str = "",
    status: int = 200,
    username: str = "",
    ask_password: bool = False,
) -> Response:
    catalogue = caller.parts.deps.catalogue()
    named_first = routes_by_domain(catalogue) and not ask_password
    own = answers.with_flow("/login", target)
    return answers.page(
        caller,
        "login.html",
        status=status,
        action="/login",
        error=error,
        username=username,
        providers=buttons(catalogue, target),
        ask_password=not named_first,
        password_url=f"{own}{'&' if '?' in own else '?'}ask={PASSWORD_ASKED}" if named_first else "",
        app=target.app or None,
        flow=render_flow(target),
        person=None,
    )


def _code(caller: Caller, target: Target, *, error: str = "", status: int = 200) -> Response:
    owner = caller.parts.sign_in.pending(caller.visit)
    if owner is None:
        return answers.redirect(answers.with_flow("/login", target))
    return answers.page(
        caller,
        "code.html",
        status=status,
        action="/login/code",
        error=error,
        methods=owner.second_factors,
        app=target.app or None,
        flow=render_flow(target),
        person={"username": owner.person, "name": owner.name},
        restart_url=answers.with_flow("/login", target),
        passkey_options_url="/login/passkey/options?step=code",
    )
