"""`/invited/<token>`: an invitation that is taken up at the partner's own provider."""

from fastapi import APIRouter
from starlette.responses import Response

from limen.administrator.session_values import Over, TooMany
from limen.console import answers, cookies
from limen.console.guard import AnyCaller, Caller, FormCaller

router = APIRouter()


@router.get("/invited/{token}")
def invitation_page(caller: AnyCaller, token: str) -> Response:
    """Show what an invitation is for. Looking spends nothing: mail scanners look at links, too."""
    invited = caller.parts.upstream.look(token)
    if invited is None:
        return _gone(caller)
    config = caller.parts.upstream.provider(invited.provider).config
    label = f"Sign in at {config.title or config.name}"
    return answers.message(
        caller,
        f"You are invited, {invited.name}",
        "Sign in with the account that you have there. No password is needed here.",
        actions=[{"url": f"/invited/{token}", "label": label, "method": "post"}],
        door="ajar",
    )


@router.post("/invited/{token}")
def take_up(caller: FormCaller, token: str) -> Response:
    """Send the browser to the provider."""
    begun = caller.parts.upstream.take_up(token, caller.visit)
    if isinstance(begun, Over):
        return _gone(caller)
    if isinstance(begun, TooMany):
        return answers.message(caller, "Too many attempts", answers.wait_words(begun.wait_s), status=429)
    url, flow = begun
    response = answers.redirect(url)
    cookies.set_cookie(response, cookies.SIGN_IN, flow.reveal())
    return response


def _gone(caller: Caller) -> Response:
    return answers.message(
        caller,
        "This invitation is over",
        "It works once, and for a week. Ask whoever invited you for a new one.",
        status=404,
        door="closed",
    )
