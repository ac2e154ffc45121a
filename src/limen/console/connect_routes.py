"""Programs sign in here: OAuth for `limen login`, with a person's own yes before anything is given.

A browser that is signed in would say yes by itself to any program that opens it, so a page asks, with an
anti-forgery form (RFC 8252 §8.6, RFC 8628 §5.4).
"""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form
from starlette.responses import JSONResponse, Response

from limen.administrator import connect
from limen.administrator.connect import ConnectRequest, Issued, OAuthError, parse_connect
from limen.administrator.step_up import Need, is_met
from limen.console import answers, client_pages, pages
from limen.console.destinations import Target, parse_need
from limen.console.guard import AnyCaller, Caller, FormCaller
from limen.core.errors import LimenError
from limen.store.sessions import Session

router = APIRouter()

Text = Annotated[str, Form()]

PATHS = {
    "authorization_endpoint": "/connect/authorize",
    "token_endpoint": "/connect/token",
    "device_authorization_endpoint": "/connect/device_authorization",
    "revocation_endpoint": "/connect/revoke",
    "limen_services_endpoint": "/connect/services",
}
METADATA: dict[str, Any] = {
    "response_types_supported": ["code"],
    "grant_types_supported": [connect.CODE_GRANT, connect.DEVICE_GRANT],
    "code_challenge_methods_supported": ["S256"],
    "token_endpoint_auth_methods_supported": ["none"],
    "scopes_supported": [connect.SCOPE],
    "authorization_response_iss_parameter_supported": True,
}
SLOW_DOWN_STATUS = 400  # RFC 8628 §3.5: errors of the token endpoint, like the others
NO_STORE = {"cache-control": "no-store"}


# --- a browser on the program's machine ------------------------------------------------------------------


@router.get("/connect/authorize")
def authorize(caller: AnyCaller) -> Response:
    """Ask the person whether this program is theirs, once they are signed in well enough."""
    query = caller.request.query_params
    request = parse_connect(query)
    away = _sign_in_first(caller, _need(query))
    if away is not None:
        return away
    values = {
        "response_type": "code",
        "client_id": connect.CLIENT_ID,
        "redirect_uri": request.redirect_uri,
        "state": request.state,
        "code_challenge": query["code_challenge"],
        "code_challenge_method": "S256",
    }
    response = answers.page(
        caller,
        "connect.html",
        title="Sign in limen on this computer?",
        sentences=(
            "A program on this computer wants to open services in your name.",
            "Say yes only if you have just run limen login.",
        ),
        action="/connect/authorize",
        values=values,
    )
    # The form's answer leads to the program's own port: browsers hold `form-action` against that too.
    loopback = request.redirect_uri.removesuffix("/callback")
    targets = answers.form_targets(caller.parts.deps.catalogue(), caller.parts.deps.port)
    response.headers["content-security-policy"] = pages.content_security_policy((*targets, loopback))
    return response


@router.post("/connect/authorize")
async def answer_authorize(caller: FormCaller, answer: Text = "") -> Response:
    """Send the browser back to the program with a code, or with the person's no."""
    form = await caller.request.form()
    return await answers.in_thread(_finish_authorize, caller, _texts(form), answer)


def _finish_authorize(caller: Caller, form: Mapping[str, str], answer: str) -> Response:
    request = parse_connect(form)
    if caller.session is None:
        return answers.redirect("/login")
    if answer != "allow":
        return _back(caller, request, {"error": "access_denied"})
    code = caller.parts.connect.issue_code(caller.session, request)
    return _back(caller, request, {"code": code.reveal()})


def _back(caller: Caller, request: ConnectRequest, values: dict[str, str]) -> Response:
    query = urlencode({**values, "state": request.state, "iss": caller.parts.desk.auth_origin})
    return answers.redirect(f"{request.redirect_uri}?{query}")


# --- a browser elsewhere ---------------------------------------------------------------------------------


@router.post("/connect/device_authorization")
def device_authorization(caller: AnyCaller, client_id: Text = "", client_name: Text = "") -> Response:
    """Begin a device flow (RFC 8628 §3.1)."""
    return _start_device(caller, client_id, client_name)


def _start_device(caller: Caller, client_id: str, client_name: str) -> Response:
    try:
        _demand_client(client_id)
        started = caller.parts.connect.start_device(client_name, caller.browser.ip)
    except OAuthError as error:
        return _oauth_error(error)
    shown = connect.render_user_code(started.user_code)
    page = f"{caller.parts.desk.auth_origin}/device"
    body = {
        "device_code": started.device_code.reveal(),
        "user_code": shown,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?user_code={quote(shown)}",
        "expires_in": int(connect.DEVICE_CODE_S),
        "interval": connect.POLL_EVERY_S,
    }
    return JSONResponse(body, headers=NO_STORE)


@router.get("/device")
def device_page(caller: AnyCaller) -> Response:
    """Ask for the code that the program shows."""
    away = _sign_in_first(caller, None)
    if away is not None:
        return away
    typed = caller.request.query_params.get("user_code", "")
    return _consent(caller, typed) if typed else _ask_code(caller)


@router.post("/device")
def device_code(caller: FormCaller, user_code: Text = "") -> Response:
    """Show which program waits under a code."""
    away = _sign_in_first(caller, None)
    return away if away is not None else _consent(caller, user_code)


@router.post("/device/answer")
def device_answer(caller: FormCaller, user_code: Text = "", answer: Text = "") -> Response:
    """Take the person's answer."""
    session = caller.session
    if session is None:
        return answers.redirect("/login")
    approve = answer == "allow"
    if approve and (refused := _refuse_client(caller, session, user_code)) is not None:
        return refused
    if not caller.parts.connect.answer_device(session, user_code, approve=approve):
        return _ask_code(caller, "No program waits under this code any more.", 404)
    said = "It is signed in. Go back to it." if approve else "It stays out."
    return answers.message(caller, "Done", said, door="open" if approve else "closed")


def _refuse_client(caller: Caller, session: Session, typed: str) -> Response | None:
    """Return the page that says why not, or leads to what is lacking, where policy denies a client."""
    try:
        found = caller.parts.connect.find_device(session, typed)
    except LimenError as error:
        return _ask_code(caller, f"{error.message} {error.remedy}", 404)
    client, oauth = caller.parts.deps.catalogue().clients.get(found.client_id), caller.parts.oauth
    if found.client_id == connect.CLIENT_ID or oauth is None or client is None:
        return None
    answer = oauth.issuing.decide(session, (client,), ip=caller.browser.ip, path="/device")
    path = f"/device?user_code={quote(found.user_code)}"
    return None if answer.decision.allowed else client_pages.deny(caller, client, answer, path)


def _ask_code(caller: Caller, error: str = "", status: int = 200) -> Response:
    return answers.page(
        caller,
        "connect.html",
        status=status,
        title="Sign in a device",
        sentences=("Type the code that the device, or limen login, shows.",),
        step="code",
        action="/device",
        error=error,
    )


def _consent(caller: Caller, typed: str) -> Response:
    session = caller.session
    assert session is not None, "asked for before"
    try:
        found = caller.parts.connect.find_device(session, typed)
    except LimenError as error:
        return _ask_code(caller, f"{error.message} {error.remedy}", 404)
    ours = found.client_id == connect.CLIENT_ID
    return answers.page(
        caller,
        "connect.html",
        title="Sign in this program?" if ours else f"Sign in to {found.client}?",
        sentences=(
            f"It calls itself “{found.client}”, asks from the address {found.ip}, "
            "and wants to open services in your name."
            if ours
            else f"A device at the address {found.ip} wants to be signed in to {found.client} in your name.",
            f"{'Its terminal' if ours else 'It'} must show {connect.render_user_code(found.user_code)}. "
            "If somebody sent you this code, say no.",
        ),
        action="/device/answer",
        values={"user_code": found.user_code},
    )


# --- what programs call ----------------------------------------------------------------------------------


@router.post("/connect/token")
async def token(caller: AnyCaller) -> Response:
    """Give a token for a code of either flow (RFC 6749 §4.1.3, RFC 8628 §3.4)."""
    form = await caller.request.form()
    return await answers.in_thread(_token, caller, _texts(form))


def _token(caller: Caller, form: Mapping[str, str]) -> Response:
    desk, ip = caller.parts.connect, caller.browser.ip
    try:
        _demand_client(form.get("client_id", ""))
        kind = form.get("grant_type", "")
        if kind == connect.CODE_GRANT:
            issued = desk.redeem_code(form, ip)
        elif kind == connect.DEVICE_GRANT:
            issued = desk.poll_device(form.get("device_code", ""), ip)
        else:
            raise OAuthError("grant_type is not one of this server's.", code="unsupported_grant_type")
    except OAuthError as error:
        return _oauth_error(error)
    return JSONResponse(_render_token(issued, caller.parts.deps.clock.now()), headers=NO_STORE)


@router.post("/connect/revoke")
def revoke(caller: AnyCaller, token: Text = "") -> Response:
    """End a token; the answer is the same whether it was good (RFC 7009 §2.2)."""
    caller.parts.connect.revoke(token)
    return Response(status_code=200, headers=NO_STORE)


@router.get("/connect/services")
def services(caller: AnyCaller) -> Response:
    """List the services, and which of them are open to this token."""
    scheme, _, text = caller.request.headers.get("authorization", "").partition(" ")
    found = caller.parts.connect.find(text.strip()) if scheme.lower() == "bearer" else None
    if found is None:
        problem = {
            "title": "Sign in first",
            "status": 401,
            "code": "NO_SESSION",
            "detail": "Run `limen login`.",
        }
        headers = {**NO_STORE, "www-authenticate": 'Bearer realm="limen"'}
        return JSONResponse(problem, 401, headers, media_type="application/problem+json")
    session, expires_at = found
    deps = caller.parts.deps
    open_to = deps.may_open(session.person, session)
    rows = []
    for service in deps.catalogue().services.values():
        may, why = open_to.get(service.name, (None, ""))
        rows.append(
            {"name": service.name, "host": service.host, "port": deps.port, "protocol": service.protocol,
             "may": may, "why": why}
        )  # fmt: skip
    body = {"person": session.person, "expires_at": expires_at, "services": rows}
    return JSONResponse(body, headers=NO_STORE)


def answer(caller: Caller, endpoint: str, form: Mapping[str, str]) -> Response:
    """Answer `limen login` where clients of the bundle are answered: an endpoint by its name in discovery."""
    if endpoint == "token_endpoint":
        return _token(caller, form)
    if endpoint == "device_authorization_endpoint":
        return _start_device(caller, form.get("client_id", ""), form.get("client_name", ""))
    if endpoint == "revocation_endpoint":
        caller.parts.connect.revoke(form.get("token", ""))
        return Response(status_code=200, headers=NO_STORE)
    return _oauth_error(OAuthError("This endpoint is not for this client.", code="unauthorized_client"))


def _render_token(issued: Issued, now: float) -> dict[str, Any]:
    return {
        "access_token": issued.token.reveal(),
        "token_type": "Bearer",
        "expires_in": max(0, int(issued.expires_at - now)),
        "scope": connect.SCOPE,
    }


def _demand_client(client_id: str) -> None:
    if client_id != connect.CLIENT_ID:
        raise OAuthError(f"client_id must be {connect.CLIENT_ID}.", code="invalid_client")


def _oauth_error(error: OAuthError) -> Response:
    body = {"error": error.code, "error_description": error.message}
    return JSONResponse(body, SLOW_DOWN_STATUS, headers=NO_STORE)


def _texts(form: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _need(query: Mapping[str, str]) -> Need | None:
    """Return what the sign-in must achieve: `limen login --need passkey` asks for it."""
    target = parse_need(query.get("need", ""), query.get("max_age", ""))
    return target.wanted


def _sign_in_first(caller: Caller, need: Need | None) -> Response | None:
    """Return the way to sign in or to step up and back to this page; None when nothing is lacking."""
    session: Session | None = caller.session
    url = caller.request.url
    here = f"{url.path}?{url.query}" if url.query else url.path
    if caller.request.method != "GET":
        here = url.path
    if session is None:
        return answers.redirect(answers.with_flow("/login", Target(path=here)))
    if not is_met(need, session, caller.parts.deps.clock.now()):
        assert need is not None
        target = Target(path=here, need=need.id, max_age_s=need.max_age_s)
        return answers.redirect(answers.with_flow("/login/step-up", target))
    return None
