"""Answers: pages with their headers, redirects that cannot leave, JSON for our script."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from limen.administrator.session_values import Answer, Destination, Over, SecondStep, SignedIn, TooMany
from limen.administrator.step_up import is_met
from limen.console import cookies, pages
from limen.console.destinations import Target, render_flow
from limen.console.guard import Caller
from limen.core.catalogue import Catalogue
from limen.store.sessions import Session

WRONG = "That did not match. Check what you typed, and try again."
OVER = "That took too long or was tried too often. Start again."

ANSWER_WORDS = {SignedIn: "signed-in", SecondStep: "second-step", TooMany: "throttled", Over: "over"}


async def in_thread(work: Callable[..., Response], *arguments: Any) -> Response:
    """Do a route's blocking work off the loop, for routes that had to wait for a form."""
    return await run_in_threadpool(work, *arguments)


def page(caller: Caller, template: str, *, status: int = 200, **context: Any) -> Response:
    """Return a page."""
    html = caller.parts.deps.render(template, **{**caller.context(), **context})
    targets = form_targets(caller.parts.deps.catalogue(), caller.parts.deps.port)
    response = HTMLResponse(html, status_code=status, headers=pages.page_headers(targets))
    return with_form_cookie(caller, response)


def message(
    caller: Caller, title: str, *sentences: str, status: int = 200, actions: Sequence[Any] = (), **more: Any
) -> Response:
    """Return a page that says one thing."""
    return page(
        caller, "message.html", status=status, title=title, sentences=sentences, actions=actions, **more
    )


def form_targets(catalogue: Catalogue, port: int) -> tuple[str, ...]:
    """Return the origins that a form's answer may lead to: the apps (see `pages.content_security_policy`)."""
    suffix = "" if port == 443 else f":{port}"
    foreign = {a.host for a in catalogue.apps.values() if not a.host.endswith(f".{catalogue.domain}")}
    return (f"https://*.{catalogue.domain}{suffix}", *sorted(f"https://{host}{suffix}" for host in foreign))


def redirect(url: str) -> Response:
    """Redirect with 303. `url` is a literal, a parsed destination, or a provider's endpoint."""
    return RedirectResponse(url, status_code=303, headers={"cache-control": "no-store"})


def json_answer(caller: Caller, body: dict[str, Any], status: int = 200) -> Response:
    """Answer our script, or a program."""
    response = JSONResponse(body, status_code=status, headers={"cache-control": "no-store"})
    return with_form_cookie(caller, response)


def with_form_cookie(caller: Caller, response: Response) -> Response:
    """Give a new browser its anti-forgery cookie. App hosts have no forms of ours."""
    if caller.new_form and "limen.app" not in caller.request.scope:
        cookies.set_cookie(response, cookies.FORM, caller.form_id)
    return response


def with_flow(path: str, target: Target) -> str:
    """Return a path of ours that carries where the sign-in leads."""
    flow = render_flow(target)
    return f"{path}?flow={flow}" if flow else path


def wait_words(seconds: float) -> str:
    """Return how long to wait, in words."""
    minutes = max(1, -(-int(seconds) // 60))
    return (
        f"Too many attempts. Wait {minutes} minute{'s' if minutes > 1 else ''}, or use a passkey "
        "or a browser that you have signed in with before."
    )


def next_url(caller: Caller, session: Session, target: Target) -> str:
    """Return where a session goes on to: the app by a one-time code, the page, or first a step-up."""
    parts = caller.parts
    if not is_met(target.wanted, session, parts.deps.clock.now()):
        return with_flow("/login/step-up", target)
    if not target.app:
        return target.path
    app = parts.deps.catalogue().apps[target.app]
    wanted = Destination(target.app, target.path, target.nonce_hash, target.need)
    code = parts.sessions.issue_code(session, wanted)
    return f"{parts.desk.origin(app.host)}/.limen/callback?code={quote(code.reveal())}"


def sign_in_cookies(response: Response, answer: SignedIn) -> Response:
    """Give the browser its session: a new token, and new anti-forgery values with it."""
    cookies.set_cookie(response, cookies.SESSION, answer.opened.token.reveal())
    cookies.clear_cookie(response, cookies.SIGN_IN)
    if answer.mark:
        cookies.set_cookie(response, cookies.KNOWN, answer.mark)
    cookies.set_cookie(response, cookies.FORM, secrets.token_hex(16))
    return response


def count(caller: Caller, answer: Answer) -> None:
    """Count what an attempt came to."""
    caller.parts.sign_ins.labels(ANSWER_WORDS.get(type(answer), "wrong")).inc()
