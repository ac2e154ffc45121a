"""Signing in through an identity provider: there and back."""

from fastapi import APIRouter
from starlette.responses import Response

from limen.administrator.session_values import SignedIn, TooMany
from limen.administrator.step_up import is_met
from limen.console import answers, cookies
from limen.console.guard import AnyCaller
from limen.console.sign_in_routes import error_words, finish, read_target, status_of

router = APIRouter()


@router.get("/oidc/{provider}/start")
def start(caller: AnyCaller, provider: str, flow: str = "") -> Response:
    """Send the browser to the provider. A session that lacks nothing is not touched by a stray link."""
    target, session = read_target(caller, flow), caller.session
    now = caller.parts.deps.clock.now()
    if session is not None and is_met(target.wanted, session, now):
        return answers.redirect(answers.next_url(caller, session, target))
    max_age_s = target.wanted.age_s if target.wanted is not None and session is not None else None
    answer = caller.parts.upstream.start(provider, caller.visit, destination=flow, max_age_s=max_age_s)
    if isinstance(answer, TooMany):
        return answers.message(caller, "Too many attempts", answers.wait_words(answer.wait_s), status=429)
    url, token = answer
    response = answers.redirect(url)
    cookies.set_cookie(response, cookies.SIGN_IN, token.reveal())
    return response


@router.get("/oidc/{provider}/callback")
def callback(caller: AnyCaller, provider: str) -> Response:
    """Take the provider's answer. It counts only in the browser whose flow asked for it."""
    query = dict(caller.request.query_params)
    answer, flow = caller.parts.upstream.finish(provider, query, caller.visit)
    answers.count(caller, answer)
    if isinstance(answer, SignedIn):
        return finish(caller, answer, read_target(caller, flow))
    response = answers.message(
        caller,
        "You are not signed in",
        error_words(answer),
        status=status_of(answer),
        actions=[
            {
                "url": answers.with_flow("/login", read_target(caller, flow)),
                "label": "Sign in",
                "method": "get",
            }
        ],
    )
    cookies.clear_cookie(response, cookies.SIGN_IN)
    return response
