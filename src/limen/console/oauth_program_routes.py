"""The authorization server for programs: discovery, tokens, userinfo, introspection, revocation, device flow.

No cookie counts here, so pages of any origin may call what public clients need (Fetch standard, CORS).
`limen login` is a client of its own (`connect_routes`); here it is served too.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from limen.administrator import connect
from limen.administrator.oauth.server import PATHS, AuthorizationServer
from limen.administrator.oauth.values import OAuthRefused, TokenRequest
from limen.console import connect_routes
from limen.console.guard import AnyCaller, Caller
from limen.console.oauth_routes import server
from limen.core.errors import Invalid, LimenError, Unavailable
from limen.information.identity.svid import parse_certificate

FORM = "application/x-www-form-urlencoded"
PARAMETERS_MAX = 32
NO_STORE = {"cache-control": "no-store"}
ANY_ORIGIN = {"access-control-allow-origin": "*"}
KEPT = {"cache-control": "public, max-age=300", **ANY_ORIGIN}
PREFLIGHT = {
    **ANY_ORIGIN,
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "authorization, content-type, dpop",
    "access-control-max-age": "3600",
}
EXPOSED = {**NO_STORE, **ANY_ORIGIN, "access-control-expose-headers": "www-authenticate, dpop-nonce"}
RETRY_AFTER_S = "5"

Work = Callable[[AuthorizationServer, TokenRequest], Mapping[str, Any] | None]

router = APIRouter()


# --- discovery ---------------------------------------------------------------------------------------


@router.get("/.well-known/openid-configuration")
@router.get("/.well-known/oauth-authorization-server")
def metadata(caller: AnyCaller) -> Response:
    """Say where everything is (OIDC Discovery 1.0 section 4, RFC 8414 section 3)."""
    issuer, oauth = caller.parts.desk.auth_origin, caller.parts.oauth
    own = {name: issuer + path for name, path in connect_routes.PATHS.items()}
    if oauth is None:
        return JSONResponse({"issuer": issuer, **own, **connect_routes.METADATA}, headers=KEPT)
    found = {**own, **oauth.metadata()}
    found["scopes_supported"] = [*found["scopes_supported"], connect.SCOPE]
    return JSONResponse(found, headers=KEPT)


@router.get(PATHS["jwks_uri"])
def keys(caller: AnyCaller) -> Response:
    """Give the public keys (RFC 7517)."""
    return JSONResponse(server(caller).keys(), headers=KEPT)


# --- endpoints ---------------------------------------------------------------------------------------


@router.post(PATHS["token_endpoint"])
async def token(caller: AnyCaller) -> Response:
    """Give tokens (RFC 6749 section 3.2)."""
    return await _answer(caller, "token_endpoint", lambda oauth, request: oauth.token(request))


@router.post(PATHS["introspection_endpoint"])
async def introspect(caller: AnyCaller) -> Response:
    """Tell about a token (RFC 7662)."""
    return await _answer(
        caller, "introspection_endpoint", lambda oauth, request: oauth.inspection.introspect(request)
    )


@router.post(PATHS["revocation_endpoint"])
async def revoke(caller: AnyCaller) -> Response:
    """End a token (RFC 7009)."""
    return await _answer(
        caller, "revocation_endpoint", lambda oauth, request: oauth.inspection.revoke(request)
    )


@router.post(PATHS["device_authorization_endpoint"])
async def device(caller: AnyCaller) -> Response:
    """Begin a device flow (RFC 8628 section 3.1)."""
    return await _answer(
        caller, "device_authorization_endpoint", lambda oauth, request: oauth.device.start(request)
    )


@router.get(PATHS["userinfo_endpoint"])
@router.post(PATHS["userinfo_endpoint"])
async def userinfo(caller: AnyCaller) -> Response:
    """Tell about the person of a token (OIDC Core 5.3)."""
    return await _answer(
        caller, "userinfo_endpoint", lambda oauth, request: oauth.inspection.userinfo(request)
    )


@router.options(PATHS["token_endpoint"])
@router.options(PATHS["revocation_endpoint"])
@router.options(PATHS["userinfo_endpoint"])
def preflight() -> Response:
    """Let a page of a public client ask."""
    return Response(status_code=204, headers=PREFLIGHT)


async def _answer(caller: Caller, endpoint: str, work: Work) -> Response:
    try:
        request = await read_request(caller, PATHS[endpoint])
        if request.form.get("client_id") == connect.CLIENT_ID or _is_programs(endpoint, request):
            return await run_in_threadpool(connect_routes.answer, caller, endpoint, request.form)
        said = await run_in_threadpool(lambda: work(server(caller), request))
    except OAuthRefused as error:
        return refusal(error)
    except Unavailable as error:
        return refusal(
            OAuthRefused(
                "temporarily_unavailable", error.message, status=503, headers={"retry-after": RETRY_AFTER_S}
            )
        )
    except LimenError as error:
        return refusal(OAuthRefused("invalid_request", error.message))
    return Response(status_code=200, headers=EXPOSED) if said is None else JSONResponse(said, headers=EXPOSED)


def _is_programs(endpoint: str, request: TokenRequest) -> bool:
    """Whether a token of `limen login` is to be revoked: its client never said who it is."""
    return endpoint == "revocation_endpoint" and request.form.get("token", "").startswith("l1.")


def refusal(error: OAuthRefused) -> Response:
    """Return an error of RFC 6749 section 5.2. A description has no quotes and backslashes there."""
    said = "".join(c for c in error.message if c.isascii() and c.isprintable() and c not in '"\\')
    body = {"error": error.error, "error_description": said}
    return JSONResponse(body, error.status, {**EXPOSED, **error.headers})


async def read_request(caller: Caller, path: str) -> TokenRequest:
    """Return a request of a program.

    Raises:
        OAuthRefused: its form cannot be read, or says something twice (RFC 6749 section 3.2).
    """
    headers = caller.request.headers
    form: dict[str, str] = {}
    if caller.request.method == "POST":
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await caller.request.body()
        if body and kind != FORM:
            raise OAuthRefused("invalid_request", f"The body is not {FORM}.")
        form = _parse_form(body)
    sent = [headers.getlist(name) for name in ("authorization", "dpop")]
    if any(len(values) > 1 for values in sent):
        raise OAuthRefused("invalid_request", "A header comes twice.")
    try:
        certificate = parse_certificate(headers)
    except Invalid as error:
        raise OAuthRefused("invalid_client", error.message, status=401) from None
    return TokenRequest(
        url=caller.parts.desk.auth_origin + path,
        form=form,
        authorization=headers.get("authorization", ""),
        dpop=headers.get("dpop", ""),
        method=caller.request.method,
        x5t=certificate.x5t if certificate is not None else "",
        san_uris=certificate.uris if certificate is not None else (),
        ip=caller.browser.ip,
    )


def _parse_form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX
        )
    except ValueError:
        raise OAuthRefused("invalid_request", "The form cannot be read.") from None
    form = {name: value for name, value in pairs if value}  # empty is as if not sent (RFC 6749 section 3.2)
    if len({name for name, _ in pairs}) != len(pairs):
        raise OAuthRefused("invalid_request", "A parameter comes twice.")
    return form
