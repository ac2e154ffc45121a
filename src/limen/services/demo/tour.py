"""The tour: six scenes of zero trust, played with real requests through the gateway.

Each scene says what it did, in whose name, what the answer was, how long it took, and the id of the
decision; each decision is then derived again from the journal.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from limen.api.client import AdminClient
from limen.core.errors import LimenError, Refused
from limen.services.demo.traveller import Answer, Traveller
from limen.services.state import StateDir

ENDED_WITHIN_S = 10.0
CURE_WITHIN_S = (
    20.0  # the process that finds cures starts with the first denial: on a busy machine not at once
)
TICK_WITHIN_S = 10.0
Say = Callable[[str], None]


class TourFailed(LimenError):
    """A scene did not go as it should."""

    code = "TOUR_FAILED"


class Scene(msgspec.Struct, frozen=True):
    """What one scene showed."""

    title: str
    decisions: tuple[str, ...]
    took_ms: float


class Stage:
    """What all scenes share: where things are, the operator's socket, and a voice."""

    def __init__(self, ready: Mapping[str, Any], say: Say) -> None:
        self.ready = ready
        self.apps: Mapping[str, str] = {name: url.rstrip("/") for name, url in ready["apps"].items()}
        self.operator = AdminClient(StateDir(Path(ready["state_dir"])).socket("admin"))
        self.say = say
        self.decisions: list[str] = []

    def expect(self, answer: Answer, status: int, what: str) -> Answer:
        """Note an answer that must have this status.

        Raises:
            TourFailed: it has another.
        """
        if answer.status != status:
            why = answer.problem.get("detail") or answer.page.title or answer.location
            raise TourFailed(
                f"{what}: expected {status}, got {answer.status} ({why}).",
                remedy="Look at the logs in the state folder.",
            )
        self.say(f"   {answer.status} in {answer.took_ms:.1f} ms  {what}")
        if answer.decision_id:
            self.note(answer.decision_id)
        return answer

    def note(self, decision_id: str) -> None:
        """Note a decision, derived again from what the journal holds."""
        shown = self.operator.get(f"/v1/decisions/{decision_id}")
        verdict = f"{shown['record']['verdict']} {shown['record']['code']}"
        agrees = shown["agrees"]
        if agrees is False:
            raise TourFailed(f"Decision {decision_id} is not what its stored inputs give.")
        self.say(f"   decision {decision_id}: {verdict}{', derived again: agrees' if agrees else ''}")
        self.decisions.append(decision_id)

    def note_latest(self, username: str, app: str) -> None:
        """Note the newest decision about a person and an app: an allowed answer does not carry its id."""
        rows = self.operator.get("/v1/decisions", subject=username, resource=app, since_s=60, limit=1)
        if not rows:
            raise TourFailed(f"The journal has no decision about {username} and {app}.")
        self.note(str(rows[-1]["id"]))


Play = Callable[[Stage, Traveller], None]


def play_tour(ready: Mapping[str, Any], say: Say = print) -> tuple[Scene, ...]:
    """Play all six scenes against the system that the ready file describes.

    Raises:
        LimenError: something did not go as it should; the message says what.
    """
    stage = Stage(ready, say)
    scenes = []
    with (
        Traveller(ready) as nobody,
        Traveller(ready, "ada") as ada,
        Traveller(ready, "grace") as grace,
        Traveller(ready, "linus") as linus,
    ):
        scenes_of: tuple[tuple[str, Play, Traveller], ...] = (
            ("Nobody is signed in", no_session, nobody),
            ("Grace signs in and reads the wiki", allowed, grace),
            ("Ada is denied, and told why", denied, ada),
            ("Payroll wants more of Grace", step_up, grace),
            ("Grace's session ends while she reads", ended, grace),
            ("A stream is open, and its reason ends", cut, linus),
        )
        for number, (title, play, who) in enumerate(scenes_of, start=1):
            say(f"\n{number}. {title}")
            before, started = len(stage.decisions), time.perf_counter()
            play(stage, who)
            took_ms = (time.perf_counter() - started) * 1000
            scenes.append(Scene(title, tuple(stage.decisions[before:]), took_ms))
    return tuple(scenes)


def no_session(stage: Stage, nobody: Traveller) -> None:
    """A person is sent to sign-in; a script is told, not sent."""
    url = f"{stage.apps['wiki']}/page/onboarding"
    sent = stage.expect(nobody.ask(url), 302, "a person opens the wiki: on to sign-in")
    if not sent.location.startswith(stage.ready["auth_url"].rstrip("/")):
        raise TourFailed(f"Sent to {sent.location}, which is not sign-in.")
    told = stage.expect(nobody.ask(url, script=True), 401, "a script asks the same: told, not redirected")
    stage.say(f"   its answer names the way: {told.problem.get('login_url', '')}")


def allowed(stage: Stage, grace: Traveller) -> None:
    """Password and one-time code, back to the very page that was asked for, and through."""
    url = f"{stage.apps['wiki']}/page/onboarding"
    page = grace.sign_in(url)
    if page.status_code != 200 or not str(page.url).startswith(url):
        raise TourFailed(f"Signing in led to {page.url} ({page.status_code}).")
    stage.say("   signed in with password and one-time code; back at the page she asked for")
    stage.expect(grace.ask(url), 200, "the wiki, with the session she now has")
    stage.note_latest("grace", "wiki")


def denied(stage: Stage, ada: Traveller) -> None:
    """An engineer at the administrators' door: why, what would open it, and a number to quote."""
    ada.sign_in(f"{stage.apps['tool']}/")
    stage.expect(ada.ask(f"{stage.apps['tool']}/"), 200, "the tool is open to engineers")
    url = f"{stage.apps['tool']}/admin"
    answer = stage.expect(ada.ask(url), 403, "its admin part is not")
    started = time.perf_counter()
    while not answer.page.remedies and time.perf_counter() - started < CURE_WITHIN_S:
        answer = ada.ask(url)
    if not (answer.page.decision_id and answer.page.reasons and answer.page.remedies):
        raise TourFailed("The denial page lacks its decision, its reason or its cure.")
    for reason in answer.page.reasons:
        stage.say(f"   why: {reason}")
    for remedy in answer.page.remedies:
        stage.say(f"   what would open it: {remedy}")


def step_up(stage: Stage, grace: Traveller) -> None:
    """Payroll asks for a passkey: the way there, a passkey made and shown, and in."""
    url = f"{stage.apps['payroll']}/"
    asked = grace.follow(url)
    stage.say(f"   she is signed in already, so she is asked one thing only: {asked.title!r}")
    told = stage.expect(grace.ask(url, script=True), 401, "a script is challenged (RFC 9470)")
    stage.say(f"   {told.challenge}")
    sent = stage.expect(grace.ask(url), 302, "Grace herself is sent to step-up")
    if "need=passkey" not in sent.location:
        raise TourFailed(f"Step-up asks for something else: {sent.location}")
    grace.add_passkey()
    stage.say("   she adds a passkey to her account (here: a real one, in software)")
    page = grace.step_up(url)
    if page.status_code != 200 or not str(page.url).startswith(url):
        raise TourFailed(f"The passkey led to {page.url} ({page.status_code}).")
    stage.say("   she shows it, and is back at payroll")
    stage.expect(grace.ask(url), 200, "payroll is open")
    stage.note_latest("grace", "payroll")


def ended(stage: Stage, grace: Traveller) -> None:
    """An operator ends her sessions; her next click is refused."""
    url = f"{stage.apps['payroll']}/"
    stage.expect(grace.ask(url), 200, "payroll is still open")
    stage.operator.delete("/v1/sessions", person="grace", reason="the tour")
    started = time.perf_counter()
    answer = grace.ask(url)
    while answer.status == 200 and time.perf_counter() - started < ENDED_WITHIN_S:
        answer = grace.ask(url)
    closed_ms = (time.perf_counter() - started) * 1000
    stage.expect(answer, 302, "an operator ended her sessions: on to sign-in")
    stage.expect(grace.ask(url, script=True), 401, "and her page's script is told")
    stage.say(f"   shut {closed_ms:.0f} ms after the operator's command was answered")


def cut(stage: Stage, linus: Traveller) -> None:
    """Somebody watches a live page; the moment he is quarantined, the open stream ends with its reason."""
    live = f"{stage.apps['wiki']}/live"
    linus.sign_in(live)
    stage.expect(linus.ask(live), 200, "the wiki's live page is open to Linus")
    with linus.hold(f"{live}/ticks") as stream:
        if not stream.wait_tick(TICK_WITHIN_S):
            raise TourFailed("The live page's stream brought nothing.")
        stage.say("   its stream is held open, and brings a moment each second")
        committed_at = stand(stage, linus.username, quarantined=True)
        try:
            if not stream.ended.wait(ENDED_WITHIN_S):
                raise TourFailed("The stream outlived the quarantine.")
            end = find_end(stage, linus.username)
            cut_ms, seen_ms = ((at - committed_at) * 1000 for at in (end["at"], stream.ended_at))
            stage.say(f"   an operator quarantined him: the gateway ended the open stream in {cut_ms:.1f} ms")
            stage.say(f"   (his browser saw it after {seen_ms:.0f} ms), by a decision made anew:")
            stage.note(str(end["data"]["decision_id"]))
            stage.expect(linus.ask(live), 403, "and his next click says so")
        finally:
            stand(stage, linus.username, quarantined=False)
    open_again(stage, linus, f"{live}/ticks")


def stand(stage: Stage, username: str, *, quarantined: bool) -> float:
    """Quarantine somebody, or release them; return when that was committed."""
    body = {"quarantined": quarantined, "reason": "the tour"}
    _, headers = stage.operator.send_for_headers("PATCH", f"/v1/people/{username}", json=body)
    return float(headers["x-limen-committed-at"])


def find_end(stage: Stage, username: str) -> Mapping[str, Any]:
    """Return what the journal tells of the end of somebody's stream."""
    asked_at = time.perf_counter()
    while time.perf_counter() - asked_at < ENDED_WITHIN_S:
        rows = stage.operator.get("/v1/events", kind="stream.ended", actor=username, since_s=60, limit=1)
        if rows:
            return dict(rows[-1])
    raise TourFailed(f"The journal has no word of the end of {username}'s stream.")


def open_again(stage: Stage, linus: Traveller, url: str) -> None:
    """Open the stream again once the release has reached the gateway."""
    released_at = time.perf_counter()
    while True:
        try:
            with linus.hold(url) as stream:
                if not stream.wait_tick(TICK_WITHIN_S):
                    raise TourFailed("The stream was opened again, and brings nothing.")
                break
        except Refused:
            if time.perf_counter() - released_at > ENDED_WITHIN_S:
                raise
    stage.say("   released, he opens it again")
