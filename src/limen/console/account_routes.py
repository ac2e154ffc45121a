"""A person's own pages: my apps, sessions and keys, tokens for scripts."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Form
from starlette.responses import Response

from limen.administrator.session_life import SessionEvent
from limen.administrator.session_values import Over
from limen.administrator.sessions import apps_of
from limen.console import answers, complaint_routes, cookies, pages
from limen.console.destinations import Target
from limen.console.guard import AnyCaller, Caller, FormCaller, ScriptCaller, read_credential, require_session
from limen.core.errors import NotFound
from limen.information.identity import passkeys
from limen.store.sessions import Session

router = APIRouter()

Text = Annotated[str, Form()]


@router.get("/")
def my_apps(caller: AnyCaller) -> Response:
    """Show the apps, and which of them are open to this session."""
    session = require_session(caller)
    deps = caller.parts.deps
    open_to = deps.may_open(session.person, session)
    apps = []
    for app in deps.catalogue().apps.values():
        reachable, why = open_to.get(app.name, (None, ""))
        url = f"{caller.parts.desk.origin(app.host)}/"
        apps.append(
            {"name": app.name, "url": url, "owner": app.owner, "labels": app.labels, "reachable": reachable,
             "why": why}
        )  # fmt: skip
    for client in deps.catalogue().clients.values():
        if client.url is not None:
            reachable, why = open_to.get(client.name, (None, ""))
            apps.append(
                {"name": client.title or client.name, "url": client.url, "owner": client.owner,
                 "labels": client.labels, "reachable": reachable, "why": why}
            )  # fmt: skip
    services = []
    for service in deps.catalogue().services.values():
        reachable, why = open_to.get(service.name, (None, ""))
        services.append(
            {"name": service.name, "protocol": service.protocol, "owner": service.owner,
             "reachable": reachable, "why": why}
        )  # fmt: skip
    return answers.page(caller, "apps.html", apps=apps, services=services)


@router.get("/account")
def account_page(caller: AnyCaller) -> Response:
    """Show sessions and keys."""
    require_session(caller)
    return _account(caller)


@router.post("/account/sessions/end")
def end_session(caller: FormCaller, id: Text = "") -> Response:  # noqa: A002 - the form's field
    """End one of one's own sessions."""
    session = require_session(caller)
    mine = {s.id for s, _ in caller.parts.sessions.list_live(session.person)}
    if id not in mine:
        raise NotFound("This session is not one of yours, or is over.", remedy="Reload the page.")
    caller.parts.sessions.end(id, SessionEvent.SIGN_OUT, actor=session.person, why="ended from another place")
    response = answers.redirect("/login" if id == session.id else "/account")
    if id == session.id:
        cookies.clear_cookie(response, cookies.SESSION)
    return response


@router.post("/account/passkey/options")
def passkey_options(caller: ScriptCaller) -> Response:
    """Give options to make a passkey, or say where to sign in anew first."""
    session = require_session(caller)
    step_up = _step_up_url(caller, session)
    if step_up is not None:
        words = "Sign in once more first: new keys need a fresh sign-in."
        return answers.json_answer(caller, {"error": words, "next": step_up}, 403)
    return answers.json_answer(caller, caller.parts.authenticators.passkey_options(session, caller.visit))


@router.post("/account/passkey")
def add_passkey(caller: ScriptCaller, body: Annotated[dict[str, Any], Body()]) -> Response:
    """Take a new passkey."""
    session = require_session(caller)
    credential = read_credential(body)
    name = str(body.get("name") or "")
    answer = caller.parts.authenticators.add_passkey(session, credential, name, caller.visit)
    if isinstance(answer, Over):
        return answers.json_answer(caller, {"error": answers.OVER}, 403)
    return answers.json_answer(caller, {"next": "/account"})


@router.post("/account/passkey/rename")
def rename_passkey(caller: FormCaller, id: Text = "", name: Text = "") -> Response:  # noqa: A002 - the form's field
    """Rename a passkey."""
    caller.parts.authenticators.rename_passkey(require_session(caller), id, name)
    return answers.redirect("/account#passkeys")


@router.post("/account/passkey/remove")
def remove_passkey(caller: FormCaller, id: Text = "") -> Response:  # noqa: A002 - the form's field
    """Remove a passkey."""
    session = require_session(caller)
    step_up = _step_up_url(caller, session)
    if step_up is not None:
        return answers.redirect(step_up)
    caller.parts.authenticators.remove_passkey(session, id)
    return answers.redirect("/account")


@router.post("/account/totp")
def start_totp(caller: FormCaller) -> Response:
    """Begin to pair an authenticator app."""
    session = require_session(caller)
    step_up = _step_up_url(caller, session)
    if step_up is not None:
        return answers.redirect(step_up)
    token = caller.parts.authenticators.start_totp(session, caller.visit)
    response = answers.redirect("/account/totp")
    cookies.set_cookie(response, cookies.SIGN_IN, token.reveal())
    return response


@router.get("/account/totp")
def totp_page(caller: AnyCaller) -> Response:
    """Show what to scan."""
    return _pairing(caller, require_session(caller))


@router.post("/account/totp/confirm")
def finish_totp(caller: FormCaller, code: Text = "") -> Response:
    """Prove the pairing."""
    session = require_session(caller)
    step_up = _step_up_url(caller, session)
    if step_up is not None:
        return answers.redirect(step_up)
    answer = caller.parts.authenticators.finish_totp(session, code, caller.visit)
    if answer is None or isinstance(answer, Over):
        response = answers.redirect("/account")
        cookies.clear_cookie(response, cookies.SIGN_IN)
        return response
    return _pairing(caller, session, error=answers.WRONG, status=403)


@router.post("/account/totp/remove")
def remove_totp(caller: FormCaller) -> Response:
    """Unpair the authenticator app."""
    session = require_session(caller)
    step_up = _step_up_url(caller, session)
    if step_up is not None:
        return answers.redirect(step_up)
    caller.parts.authenticators.remove_totp(session)
    return answers.redirect("/account")


@router.post("/account/recovery")
def new_codes(caller: FormCaller) -> Response:
    """Replace the recovery codes, and show the new ones once."""
    session = require_session(caller)
    step_up = _step_up_url(caller, session)
    if step_up is not None:
        return answers.redirect(step_up)
    codes = [code.reveal() for code in caller.parts.authenticators.new_codes(session)]
    return answers.page(
        caller, "enrol.html", step="recovery", action="/account/recovery/kept", recovery_codes=codes
    )


@router.post("/account/recovery/kept")
def codes_kept(caller: FormCaller) -> Response:
    """Go back to sessions and keys."""
    require_session(caller)
    return answers.redirect("/account")


@router.post("/tokens")
def make_token(caller: FormCaller, app: Text = "", name: Text = "") -> Response:
    """Make a short-lived token for one app; it is shown once."""
    session = require_session(caller)
    token, row = caller.parts.sessions.issue_token(session, app, name[:64])
    shown = {"name": row.name, "app": app, "token": token.reveal(), "expires": row.expires_at}
    if caller.wants_json:
        return answers.json_answer(caller, shown, 201)
    return _account(caller, new_token=shown)


@router.post("/tokens/revoke")
def revoke_token(caller: FormCaller, hash: Text = "") -> Response:  # noqa: A002 - the form's field
    """End a token."""
    session = require_session(caller)
    if not caller.parts.sessions.end_child(session.person, hash, actor=session.person):
        raise NotFound("This token is not one of yours, or is over.", remedy="Reload the page.")
    return answers.redirect("/account")


def _account(caller: Caller, **more: Any) -> Response:
    session = require_session(caller)
    live = caller.parts.sessions.list_live(session.person)
    keys = caller.parts.authenticators.show(session)
    now = caller.parts.deps.clock.now()
    tokens = [
        {"name": c.name, "app": c.app, "expires": c.expires_at, "hash": c.token_hash}
        for _, children in live
        for c in children
        if c.kind == "token" and c.expires_at > now
    ]
    sessions = [
        {"id": s.id, "started": s.started_at, "seen": s.seen_at, "ip": s.ip, "agent": s.user_agent,
         "current": s.id == session.id, "aal": s.aal, "apps": apps_of(children)}
        for s, children in live
    ]  # fmt: skip
    listed = [
        {"id": k.id, "name": k.name, "created": k.created_at, "used": k.used_at, "backed_up": k.backed_up,
         "model": k.aaguid if k.attested else "",
         "hardware": passkeys.is_hardware(k.aaguid, keys.rules, bound=k.bound),
         "counts": passkeys.counts(k.aaguid, keys.rules, attested=k.attested)}
        for k in keys.passkeys
    ]  # fmt: skip
    return answers.page(
        caller,
        "account.html",
        sessions=sessions,
        passkeys=listed,
        totp=keys.totp,
        recovery_left=keys.recovery_left,
        tokens=tokens,
        apps=sorted(caller.parts.deps.catalogue().apps),
        **complaint_routes.listed_for(caller, session.person),
        **more,
    )


def _pairing(caller: Caller, session: Session, *, error: str = "", status: int = 200) -> Response:
    pairing = caller.parts.authenticators.pairing(session, caller.visit)
    if pairing is None:
        return answers.redirect("/account")
    return answers.page(
        caller,
        "enrol.html",
        status=status,
        step="totp",
        action="/account/totp/confirm",
        error=error,
        qr_svg=pages.qr_svg(pairing.uri.reveal()),
        secret=pairing.secret.reveal(),
        methods=("totp",),
    )


def _step_up_url(caller: Caller, session: Session) -> str | None:
    """Return where to sign in anew before keys may change; None if the sign-in is fresh enough."""
    need = caller.parts.authenticators.lacks(session)
    return answers.with_flow("/login/step-up", Target(path="/account", need=need.id)) if need else None
