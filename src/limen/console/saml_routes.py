"""Signing in through a SAML identity provider: there, back, out; and what it is told of Limen.

The answer is a form from another site, with which browsers send no cookie of ours: it is laid aside, and the
browser is sent to fetch it (`saml_upstream`).
"""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form
from starlette.responses import Response

from limen.administrator.session_values import Over, SignedIn, TooMany
from limen.administrator.step_up import is_met
from limen.console import answers, cookies
from limen.console.guard import AnyCaller, Caller
from limen.console.saml_pages import pass_on
from limen.console.sign_in_routes import error_words, finish, read_target, status_of
from limen.information.identity.saml_bindings import Received, read_post, read_redirect

METADATA_TYPE = "application/samlmetadata+xml"  # SAML 2.0 metadata, appendix A
NOT_ADMITTED = (
    "The sign-in through this provider opens nothing here. "
    "If it should, tell an administrator when you tried."
)

router = APIRouter()

Text = Annotated[str, Form()]


@router.get("/saml/{provider}/metadata")
def metadata(caller: AnyCaller, provider: str) -> Response:
    """Say who Limen is to this provider."""
    return Response(caller.parts.saml_names.provider_metadata(provider), media_type=METADATA_TYPE)


@router.get("/saml/{provider}/start")
def start(caller: AnyCaller, provider: str, flow: str = "") -> Response:
    """Send the browser to the provider. A session that lacks nothing is not touched by a stray link."""
    target, session = read_target(caller, flow), caller.session
    if session is not None and is_met(target.wanted, session, caller.parts.deps.clock.now()):
        return answers.redirect(answers.next_url(caller, session, target))
    need = target.wanted if session is not None else None
    answer = caller.parts.saml.start(provider, caller.visit, destination=flow, need=need)
    if isinstance(answer, TooMany):
        return too_many(caller, answer)
    sent, token = answer
    response = pass_on(caller, sent, "Going on to your identity provider")
    cookies.set_cookie(response, cookies.SIGN_IN, token.reveal())
    return response


@router.post("/saml/{provider}/acs")
def consume(
    caller: AnyCaller,
    provider: str,
    response: Annotated[str, Form(alias="SAMLResponse")] = "",
    relay_state: Annotated[str, Form(alias="RelayState")] = "",
) -> Response:
    """Lay the provider's answer aside, and have the browser fetch it."""
    received = read_post({"SAMLResponse": response, "RelayState": relay_state})
    if not caller.parts.saml.receive(provider, received, caller.browser.ip):
        return _not_signed_in(caller, NOT_ADMITTED, 403, "")
    return answers.redirect(f"/saml/{quote(provider)}/finish?relay={quote(relay_state)}")


@router.get("/saml/{provider}/finish")
def fetch(caller: AnyCaller, provider: str, relay: str = "") -> Response:
    """Take the answer that was laid aside. It counts only in the browser whose flow asked for it."""
    answer, flow = caller.parts.saml.finish(provider, relay, caller.visit)
    answers.count(caller, answer)
    if isinstance(answer, SignedIn):
        return finish(caller, answer, read_target(caller, flow))
    words = error_words(answer) if isinstance(answer, Over | TooMany) else NOT_ADMITTED
    return _not_signed_in(caller, words, status_of(answer), flow)


@router.get("/saml/{provider}/logout")
def logout(caller: AnyCaller, provider: str) -> Response:
    """End what the provider asks to end."""
    return _logout(caller, provider, read_redirect(caller.request.url.query))


@router.post("/saml/{provider}/logout")
def logout_form(
    caller: AnyCaller,
    provider: str,
    request: Annotated[str, Form(alias="SAMLRequest")] = "",
    relay_state: Annotated[str, Form(alias="RelayState")] = "",
) -> Response:
    """The same by a form."""
    return _logout(caller, provider, read_post({"SAMLRequest": request, "RelayState": relay_state}))


def too_many(caller: Caller, answer: TooMany) -> Response:
    """Answer an address that asks too often."""
    return answers.message(caller, "Too many attempts", answers.wait_words(answer.wait_s), status=429)


def signed_out(caller: Caller) -> Response:
    """Say that it is done, where nobody is to be told but the person."""
    return answers.message(caller, "You are signed out", "Every app that this session had opened is closed.")


def _logout(caller: Caller, provider: str, received: Received) -> Response:
    answer = caller.parts.saml_upstream_logout.logout(provider, received, caller.browser.ip)
    if isinstance(answer, TooMany):
        return too_many(caller, answer)
    return signed_out(caller) if answer is None else pass_on(caller, answer, "Signing out")


def _not_signed_in(caller: Caller, words: str, status: int, flow: str) -> Response:
    url = answers.with_flow("/login", read_target(caller, flow))
    response = answers.message(
        caller,
        "You are not signed in",
        words,
        status=status,
        actions=[{"url": url, "label": "Sign in", "method": "get"}],
    )
    cookies.clear_cookie(response, cookies.SIGN_IN)
    return response
