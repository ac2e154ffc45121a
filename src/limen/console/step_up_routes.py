"""Step-up and sign-out of somebody who is signed in."""

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.responses import Response

from limen.administrator.session_life import SessionEvent
from limen.administrator.session_values import SignedIn
from limen.administrator.step_up import Need, is_met, providers_for
from limen.console import answers, client_pages
from limen.console.destinations import Target, render_flow
from limen.console.guard import AnyCaller, Caller, FormCaller
from limen.console.provider_choice import start_url, titles_of
from limen.console.sign_in_routes import (
    STEP_UP,
    STEP_UP_HARDWARE,
    error_words,
    finish,
    read_target,
    status_of,
)
from limen.core.ids import Instant
from limen.core.needs import HARDWARE_KEY, NEEDS
from limen.core.secret import Secret
from limen.store.sessions import Session

PROVIDER_AGAIN_S = 60.0  # a provider that did not bring what is needed is not asked again at once

router = APIRouter()

Text = Annotated[str, Form()]


@router.get("/login/step-up")
def step_up_page(caller: AnyCaller, flow: str = "") -> Response:
    """Ask for what the session lacks."""
    target = read_target(caller, flow)
    if caller.session is None:
        return answers.redirect(answers.with_flow("/login", target))
    if is_met(target.wanted, caller.session, caller.parts.deps.clock.now()):
        return answers.redirect(answers.next_url(caller, caller.session, target))
    return _step_up(caller, target)


@router.post("/login/step-up")
def step_up(caller: FormCaller, password: Text = "", code: Text = "", flow: Text = "") -> Response:
    """Check what was typed."""
    target = read_target(caller, flow)
    if caller.session is None or target.wanted is None:
        return answers.redirect(answers.with_flow("/login", target))
    answer = caller.parts.step_up.typed(target.wanted, Secret(password), code, caller.visit)
    answers.count(caller, answer)
    if isinstance(answer, SignedIn):
        return finish(caller, answer, target)
    return _step_up(caller, target, error=error_words(answer), status=status_of(answer))


@router.get("/logout")
def sign_out_page(caller: AnyCaller) -> Response:
    """Ask before signing out: a link alone signs nobody out."""
    if caller.session is None:
        return client_pages.signed_out(caller)
    return answers.message(
        caller,
        "Sign out?",
        "This ends your session in this browser, and in every app that it has opened.",
        actions=[
            {"url": "/logout", "label": "Sign out", "method": "post"},
            {"url": "/logout/everywhere", "label": "Sign out everywhere", "method": "post"},
            {"url": "/", "label": "Stay signed in", "method": "get"},
        ],
        door="open",
    )


@router.post("/logout")
def sign_out(caller: FormCaller) -> Response:
    """End this session and every app session below it."""
    frames = client_pages.frames_of(caller)
    if caller.session is not None:
        caller.parts.sessions.end(
            caller.session.id, SessionEvent.SIGN_OUT, actor=caller.session.person, why="signed out"
        )
    return client_pages.signed_out(caller, frames=frames)


@router.post("/logout/everywhere")
def sign_out_everywhere(caller: FormCaller) -> Response:
    """End every session of this person."""
    frames = client_pages.frames_of(caller)
    if caller.session is not None:
        person = caller.session.person
        caller.parts.sessions.end_person(
            person, actor=person, why="signed out everywhere", event=SessionEvent.SIGN_OUT
        )
    return client_pages.signed_out(caller, frames=frames)


def _just_proven(session: Session, need: Need, now: Instant) -> bool:
    """Whether the provider has spoken a moment ago, and freshly: asked again it would say the same."""
    if need.age_s is not None and now - session.auth_at > need.age_s:
        return False
    if need.since is not None and session.auth_at < need.since:
        return False
    return now - max(session.started_at, session.rotated_at or 0.0) < PROVIDER_AGAIN_S


def _step_up(caller: Caller, target: Target, *, error: str = "", status: int = 200) -> Response:
    session, need = caller.session, target.wanted
    owner = caller.parts.step_up.owner(session) if session else None
    if session is None or owner is None or need is None:
        return answers.redirect(answers.with_flow("/login", target))
    methods = caller.parts.step_up.methods(need, owner)
    titles = titles_of(caller.parts.deps.catalogue())
    asked = not _just_proven(session, need, caller.parts.deps.clock.now())
    providers = [source for source in providers_for(session) if source in titles and asked]
    if not methods and providers:
        return answers.redirect(start_url(providers[0], target))
    hardware = need.id == HARDWARE_KEY
    return answers.page(
        caller,
        "stepup.html",
        status=status,
        need=need.id,
        title=NEEDS[need.id].title,
        sentence=NEEDS[need.id].asked,
        add=NEEDS[need.id].add if not hardware or caller.parts.step_up.hardware_listed else "",
        action="/login/step-up",
        methods=methods,
        providers=[{"name": titles[one], "url": start_url(one, target)} for one in providers],
        error=error,
        app=target.app or None,
        flow=render_flow(target),
        cancel_url="/",
        passkey_options_url=f"/login/passkey/options?step={STEP_UP_HARDWARE if hardware else STEP_UP}",
    )
