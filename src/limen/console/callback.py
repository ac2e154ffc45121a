"""What control answers on an app's own host: the end of a sign-in, and the way out.

A code counts once, for one minute, on the app's host it was made for, and in the browser whose flow
cookie it was made for: whoever sends somebody else their own code signs nobody in.
"""

from fastapi import APIRouter
from starlette.responses import Response

from limen.console import answers, cookies
from limen.console.guard import AnyCaller, Caller

router = APIRouter()


@router.get("/.limen/callback")
def callback(caller: AnyCaller, code: str = "") -> Response:
    """Exchange a code for the app's own session cookie."""
    app = str(caller.request.scope["limen.app"])
    nonce = cookies.read_cookie(caller.request, cookies.FLOW)
    replaces = cookies.read_cookie(caller.request, cookies.SESSION)
    redeemed = caller.parts.sessions.redeem_code(code, app=app, nonce=nonce, replaces=replaces)
    if redeemed is None:
        return _mismatch(caller)
    token, found = redeemed
    response = answers.redirect(found.return_to)
    cookies.set_cookie(response, cookies.SESSION, token.reveal())
    cookies.clear_cookie(response, cookies.FLOW)
    if found.cure:
        cookies.set_cookie(response, cookies.CURED, found.cure)
    return response


@router.get("/.limen/logout")
def sign_out(caller: AnyCaller) -> Response:
    """Lead to the page that asks: a link on an app signs nobody out."""
    return answers.redirect(f"{caller.parts.desk.auth_origin}/logout")


def _mismatch(caller: Caller) -> Response:
    """A page, never a redirect: whatever went wrong must not go round and round."""
    return answers.message(
        caller,
        "This sign-in did not fit this browser",
        "The link was used already, is older than a minute, or was made for another browser.",
        status=400,
        actions=[{"url": "/", "label": "Start again", "method": "get"}],
        auth_url=caller.parts.desk.auth_origin,
        person=None,
        csrf="",
    )
