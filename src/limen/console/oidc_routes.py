"""Signing in through an OpenID provider: there and back; and what it says when somebody signs out."""

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.responses import JSONResponse, PlainTextResponse, Response

from limen.administrator.session_values import SignedIn, TooMany, Wrong
from limen.administrator.step_up import is_met
from limen.administrator.upstream import Linked
from limen.console import answers, cookies
from limen.console.guard import AnyCaller
from limen.console.identity_routes import PAGE
from limen.console.sign_in_routes import error_words, finish, read_target, status_of
from limen.core.errors import Unavailable
from limen.information.identity.oidc_tokens import UpstreamRefused

NOT_ADMITTED = "This sign-in opens nothing here. If it should, tell an administrator when you tried."
UNCACHED = {"cache-control": "no-store"}

router = APIRouter()


@router.get("/oidc/{provider}/start")
def start(caller: AnyCaller, provider: str, flow: str = "", hint: str = "") -> Response:
    """Send the browser to the provider. A session that lacks nothing is not touched by a stray link."""
    target, session = read_target(caller, flow), caller.session
    now = caller.parts.deps.clock.now()
    if session is not None and is_met(target.wanted, session, now):
        return answers.redirect(answers.next_url(caller, session, target))
    wanted = target.wanted if session is not None else None
    answer = caller.parts.upstream.start(
        provider,
        caller.visit,
        destination=flow,
        max_age_s=wanted.age_s if wanted is not None else None,
        need=wanted.id if wanted is not None else "",
        login_hint=hint if hint.isprintable() else "",
    )
    if isinstance(answer, TooMany):
        return answers.message(caller, "Too many attempts", answers.wait_words(answer.wait_s), status=429)
    url, token = answer
    response = answers.redirect(url)
    cookies.set_cookie(response, cookies.SIGN_IN, token.reveal())
    return response


@router.get("/oidc/{provider}/callback")
def callback(caller: AnyCaller, provider: str) -> Response:
    """Take the provider's answer. It counts only in the browser whose flow asked for it."""
    query = caller.request.query_params
    # RFC 6749 3.1: none may come twice. One that does is there, and right for nothing.
    once = {name: query[name] if len(query.getlist(name)) == 1 else "" for name in query}
    answer, flow = caller.parts.upstream.finish(provider, once, caller.visit)
    if isinstance(answer, Linked):
        response = answers.redirect(PAGE)
        cookies.clear_cookie(response, cookies.SIGN_IN)
        return response
    answers.count(caller, answer)
    target = read_target(caller, flow)
    if isinstance(answer, SignedIn):
        return finish(caller, answer, target)
    response = answers.message(
        caller,
        "You are not signed in",
        NOT_ADMITTED if isinstance(answer, Wrong) else error_words(answer),
        status=status_of(answer),
        actions=[{"url": answers.with_flow("/login", target), "label": "Sign in", "method": "get"}],
    )
    cookies.clear_cookie(response, cookies.SIGN_IN)
    return response


@router.get("/oidc/{provider}/logout")
def front_channel(caller: AnyCaller, provider: str, iss: str = "", sid: str = "") -> Response:
    """Somebody signs out at the provider, whose page asks this in a frame. One answer, whatever it did."""
    caller.parts.upstream_logout.frontchannel(provider, iss, sid, caller.visit)
    return PlainTextResponse("", headers=UNCACHED)


@router.post("/oidc/{provider}/backchannel")
def back_channel(caller: AnyCaller, provider: str, logout_token: Annotated[str, Form()] = "") -> Response:
    """The provider itself says that somebody signed out (Back-Channel Logout 1.0 section 2.8)."""
    try:
        caller.parts.upstream_logout.backchannel(provider, logout_token, caller.browser.ip)
    except UpstreamRefused:
        return JSONResponse({"error": "invalid_request"}, 400, headers=UNCACHED)
    except Unavailable:
        return JSONResponse({"error": "temporarily_unavailable"}, 503, headers=UNCACHED)
    return Response(status_code=200, headers=UNCACHED)
