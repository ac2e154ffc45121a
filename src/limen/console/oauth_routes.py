"""The authorization server in a browser: signing in to a client, and out with it.

Source: OIDC Core 1.0 section 3.1.2, RFC 9207, RFC 9470 section 5, RP-Initiated Logout 1.0.
"""

from collections.abc import Sequence
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import Response

from limen.administrator import connect
from limen.administrator.oauth import levels
from limen.administrator.oauth.logout import with_query
from limen.administrator.oauth.request import (
    AuthenticationRequest,
    RequestRefused,
    ReturnTo,
    parse_request,
    parse_return,
)
from limen.administrator.oauth.server import AuthorizationServer
from limen.administrator.session_life import SessionEvent
from limen.administrator.step_up import Need
from limen.console import answers, client_pages
from limen.console.destinations import MAX_AGE_MIN_S, PATH_LENGTH_MAX, Target
from limen.console.guard import AnyCaller, Caller, FormCaller
from limen.core.errors import Unavailable
from limen.enforcement.check.refusals import cured_by_signing_in
from limen.store.sessions import Session

AUTHORIZE = "/oauth2/authorize"
LOGOUT = "/oauth2/logout"

Pairs = Sequence[tuple[str, str]]

router = APIRouter()


def server(caller: Caller) -> AuthorizationServer:
    """Return the authorization server.

    Raises:
        Unavailable: this console has none.
    """
    found = caller.parts.oauth
    if found is None:
        raise Unavailable("Nobody can sign in to other apps now.", remedy="Try again in a moment.")
    return found


# --- signing in --------------------------------------------------------------------------------------


@router.get(AUTHORIZE)
def authorize(caller: AnyCaller) -> Response:
    """Bring a person to a client with a code, by way of whatever their session lacks."""
    pairs = caller.request.query_params.multi_items()
    if dict(pairs).get("client_id") == connect.CLIENT_ID:
        return answers.redirect(f"/connect/authorize?{caller.request.url.query}")
    catalogue = caller.parts.deps.catalogue()
    to = parse_return(pairs, catalogue)
    try:
        request = parse_request(pairs, to, catalogue)
        return _sign_in(caller, request, pairs)
    except RequestRefused as error:
        return _back(caller, to, {"error": error.error, "error_description": error.message})


@router.post(AUTHORIZE)
async def authorize_by_form(caller: AnyCaller) -> Response:
    """Take the same by POST (OIDC Core 3.1.2.1). Cookies come only with the GET that it leads to."""
    form = await caller.request.form()
    pairs = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    return answers.redirect(f"{AUTHORIZE}?{urlencode(pairs)}")


def _sign_in(caller: Caller, request: AuthenticationRequest, pairs: Pairs) -> Response:
    """Give a code, or lead to what is lacking.

    Raises:
        RequestRefused: the client is told why not.
    """
    oauth, session, now = server(caller), caller.session, caller.parts.deps.clock.now()
    silent = request.prompt == "none"
    path = _path(pairs)
    if session is None:
        if silent:
            raise RequestRefused("login_required", "Nobody is signed in.")
        return answers.redirect(answers.with_flow("/login", Target(path=_asked_once(pairs))))
    if _once_more(request) and not silent:
        return answers.redirect(
            client_pages.step_up_url(_asked_once(pairs), Need("fresh-sign-in", since=now))
        )
    hardware = caller.parts.step_up.hardware_listed
    need = levels.lacking(session, request.acr_values, request.max_age_s, now, hardware=hardware)
    if need is not None:
        if silent:
            error = "login_required" if need.id == "fresh-sign-in" else "interaction_required"
            raise RequestRefused(error, "The session lacks what is asked for.")
        return answers.redirect(client_pages.step_up_url(path, need))
    if levels.unmet(session, request.acr_values):
        raise RequestRefused("unmet_authentication_requirements", "None of `acr_values` can be met.")
    return _decided(caller, oauth, session, request, path)


def _decided(
    caller: Caller, oauth: AuthorizationServer, session: Session, request: AuthenticationRequest, path: str
) -> Response:
    wanted = oauth.authorizations.wanted(request)
    answer = oauth.issuing.decide(session, wanted, ip=caller.browser.ip, path=AUTHORIZE)
    if not answer.decision.allowed:
        if request.prompt == "none":
            curable = cured_by_signing_in(oauth.issuing.authority.explain(answer))
            raise RequestRefused(
                "interaction_required" if curable else "access_denied", "This person may not sign in here."
            )
        denied = next(one for one in wanted if one.ref == answer.request.resource)
        return client_pages.deny(caller, denied, answer, path)
    code = oauth.authorizations.issue_code(session, request)
    return _back(caller, request.to, {"code": code.reveal()})


def _once_more(request: AuthenticationRequest) -> bool:
    """Whether somebody who is signed in signs in anew: by `prompt`, or by an age that no redirect meets."""
    young = request.max_age_s is not None and request.max_age_s < MAX_AGE_MIN_S
    return request.prompt == "login" or young


def _path(pairs: Pairs) -> str:
    """Return this request as a path of ours.

    Raises:
        RequestRefused: it is too long to come back to.
    """
    path = f"{AUTHORIZE}?{urlencode(pairs)}"
    if len(path) > PATH_LENGTH_MAX:
        raise RequestRefused("invalid_request", "The request is too long.")
    return path


def _asked_once(pairs: Pairs) -> str:
    """Return this request as it goes on once somebody has signed in anew."""
    kept = []
    for name, value in pairs:
        if name == "max_age" and value.isdigit():
            kept.append((name, str(max(int(value), MAX_AGE_MIN_S))))
        elif name != "prompt":
            kept.append((name, value))
    return _path(kept)


def _back(caller: Caller, to: ReturnTo, values: dict[str, str]) -> Response:
    """Send the browser back to the client, with who we are (RFC 9207)."""
    said = {**values, **({"state": to.state} if to.state else {}), "iss": caller.parts.desk.auth_origin}
    return client_pages.onward(caller, with_query(to.redirect_uri, said), to.client)


# --- signing out -------------------------------------------------------------------------------------


@router.get(LOGOUT)
def sign_out(caller: AnyCaller) -> Response:
    """End the session that an ID token names; else ask first: a link alone signs nobody out."""
    logout, session = server(caller).logout, caller.session
    asked = logout.parse(dict(caller.request.query_params))
    if session is None:
        return client_pages.signed_out(caller, asked.go_on, asked.client)
    if logout.is_of(asked, session):
        return _end(caller, session, asked.go_on)
    query = caller.request.url.query
    return answers.message(
        caller,
        "Sign out?",
        "This ends your session in this browser, and in every app that it has opened.",
        actions=[
            {"url": f"{LOGOUT}/confirm?{query}", "label": "Sign out", "method": "post"},
            {"url": "/", "label": "Stay signed in", "method": "get"},
        ],
        door="open",
    )


@router.post(LOGOUT)
async def sign_out_by_form(caller: AnyCaller) -> Response:
    """Take the same by POST. Cookies come only with the GET that it leads to."""
    form = await caller.request.form()
    pairs = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    return answers.redirect(f"{LOGOUT}?{urlencode(pairs)}")


@router.post(f"{LOGOUT}/confirm")
def confirm_sign_out(caller: FormCaller) -> Response:
    """Take the person's yes."""
    asked = server(caller).logout.parse(dict(caller.request.query_params))
    if caller.session is None:
        return client_pages.signed_out(caller, asked.go_on, asked.client)
    return _end(caller, caller.session, asked.go_on)


def _end(caller: Caller, session: Session, go_on: str) -> Response:
    asked = server(caller).logout.parse(dict(caller.request.query_params))
    frames = server(caller).logout.frames(session)
    caller.parts.sessions.end(
        session.id, SessionEvent.SIGN_OUT, actor=session.person, why="signed out at a client"
    )
    return client_pages.signed_out(caller, go_on, asked.client, frames)
