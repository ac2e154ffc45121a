"""Refusals: every answer that does not let a request go on (`design/decision.md`, Enforcement answers)."""

import re
from collections.abc import Callable
from typing import Any

from limen.core.changes import PersonFact
from limen.core.decision import Code, Explanation, Remedy
from limen.core.errors import Invalid
from limen.core.ids import Instant
from limen.core.needs import NEEDS, cured_by_sign_in
from limen.enforcement.check.answer import INTERPOSED, Answer, Header, problem
from limen.enforcement.check.asked import Asked, auth_origin, authorize_url, complaint_url, login_url
from limen.enforcement.check.credentials import FLOW_COOKIE
from limen.enforcement.check.identity import DECISION_ID
from limen.enforcement.check.places import ServicePlace
from limen.enforcement.check.ports import Pages
from limen.enforcement.check.request import FETCH_MODE, ORIGIN, CheckRequest, is_navigation
from limen.enforcement.check.sentences import CODE_SENTENCES, LIMIT_SENTENCES
from limen.information.identity.dpop import ALGORITHMS

FLOW_COOKIE_MAX_AGE_S = 600
RETRY_AFTER_S = 5

_NONCE = re.compile(r"[0-9a-f]{32}")


class Refusals:
    """Writes refusals. `make_nonce` gives 32 fresh hex digits."""

    def __init__(self, pages: Pages, make_nonce: Callable[[], str]) -> None:
        self._pages = pages
        self._make_nonce = make_nonce

    def unreadable(self, request: CheckRequest, status: int, error: Invalid) -> Answer:
        """Answer a request that is not understood (400), or meant for another host (421)."""
        title = "This address is not understood" if status == 400 else "This address leads nowhere"
        if is_navigation(request):
            return self._page(
                status, "message.html", title=title, sentences=[error.message, error.remedy], door="closed"
            )
        return problem(status, error.code, title, error.message, more={"remedy": error.remedy})

    def no_session(self, asked: Asked) -> Answer:
        """Send a navigation to sign-in; tell a client that it must sign in."""
        if is_navigation(asked.request):
            return self._to_sign_in(asked, "")
        headers = (("www-authenticate", f'Bearer realm="{asked.place.name}"'), *cors_headers(asked))
        if asked.request.headers.get(FETCH_MODE) is None:
            # git and pip send a password only when asked for one. A browser would show a dialogue
            # of its own, so a page's fetch is not asked.
            headers += (("www-authenticate", f'Basic realm="{asked.place.name}", charset="UTF-8"'),)
        detail = "This app opens to people who are signed in."
        if isinstance(asked.place, ServicePlace):
            detail = "This service opens to people who are signed in. Run `limen login`."
        return problem(401, Code.NO_SESSION, "Sign in first", detail, headers=headers, more=login_url(asked))

    def step_up(self, asked: Asked, decision_id: str, remedies: tuple[Remedy, ...]) -> Answer:
        """Send a navigation to prove more; challenge a client to (RFC 9470)."""
        need, max_age_s = cure(remedies)
        if is_navigation(asked.request):
            age = "" if max_age_s is None else f"&max_age={max_age_s}"
            return self._to_sign_in(asked, f"&need={need}{age}", decision_id)
        sentence = " ".join(remedy.sentence for remedy in remedies)
        challenge = [
            f'Bearer realm="{asked.place.name}"',
            'error="insufficient_user_authentication"',
            f'error_description="{_quotable(sentence)}"',
        ]
        if NEEDS[need].acr:
            challenge.append(f'acr_values="{NEEDS[need].acr}"')
        if max_age_s is not None:
            challenge.append(f'max_age="{max_age_s}"')
        headers = (
            ("www-authenticate", ", ".join(challenge)),
            (DECISION_ID, decision_id),
            *cors_headers(asked),
        )
        more = {"decision_id": decision_id, **login_url(asked), "cure": need}
        return problem(
            401, "INSUFFICIENT_USER_AUTHENTICATION", "Prove more", sentence, headers=headers, more=more
        )

    def unproven(self, asked: Asked, decision_id: str, *, by_key: bool) -> Answer:
        """Say that a token needs its proof (RFC 9449 section 7.1) or its certificate (RFC 8705 section 3).

        What exactly is wrong with it is for the operator alone.
        """
        realm = f'realm="{asked.place.name}"'
        challenge = f'Bearer {realm}, error="invalid_token"'
        if by_key:
            challenge = f'DPoP {realm}, error="invalid_dpop_proof", algs="{" ".join(ALGORITHMS)}"'
        headers = (("www-authenticate", challenge), (DECISION_ID, decision_id))
        detail = CODE_SENTENCES[Code.PROOF_FAILED]
        more = {"decision_id": decision_id}
        return problem(401, Code.PROOF_FAILED, "Prove your key", detail, headers=headers, more=more)

    def denied(
        self,
        asked: Asked,
        decision_id: str,
        code: Code,
        *,
        at: Instant,
        explanation: Explanation | None = None,
        who: PersonFact | None = None,
    ) -> Answer:
        """Say no, why, and what would make it a yes. `who` is the person signed in, or None."""
        remedies = explanation.remedies if explanation else ()
        if not is_navigation(asked.request):
            headers = ((DECISION_ID, decision_id), *cors_headers(asked))
            more = {"decision_id": decision_id, "remedies": [remedy.id for remedy in remedies]}
            detail = " ".join(_reasons(code, explanation))
            return problem(403, code, "Not open to you", detail, headers=headers, more=more)
        headers, context = self._told(asked, decision_id, code, at=at, explanation=explanation, who=who)
        title = "This door stays closed for now"
        return self._page(403, "denied.html", headers, title=title, **context)

    def warned(
        self,
        asked: Asked,
        decision_id: str,
        code: Code,
        *,
        at: Instant,
        day: str,
        cookie: Header,
        explanation: Explanation | None = None,
        who: PersonFact | None = None,
    ) -> Answer:
        """Say, before the app's own page, what will be denied, why, and what would cure it.

        Args:
            day: from which it will be denied, in words; empty when none is known.
            cookie: keeps quiet whatever this page has told.
        """
        headers, context = self._told(asked, decision_id, code, at=at, explanation=explanation, who=who)
        return self._page(
            INTERPOSED,
            "warned.html",
            (*headers, cookie),
            title=f"From {day}, this door will be closed to you"
            if day
            else "Soon this door will be closed to you",
            day=day,
            continue_url=asked.target.path + asked.target.query,
            **context,
        )

    def _told(
        self,
        asked: Asked,
        decision_id: str,
        code: Code,
        *,
        at: Instant,
        explanation: Explanation | None,
        who: PersonFact | None,
    ) -> tuple[tuple[Header, ...], dict[str, Any]]:
        """Return what a page tells of a denial, with the headers that its buttons need."""
        remedies = explanation.remedies if explanation else ()
        nonce, cookie = self._flow(asked)
        headers: tuple[Header, ...] = ((DECISION_ID, decision_id),)
        if any(remedy.id in NEEDS for remedy in remedies):
            headers += (cookie,)
        return headers, {
            "decision_id": decision_id,
            "app": asked.place.name,
            "reasons": list(_reasons(code, explanation)),
            "remedies": [_button(asked, remedy, nonce) for remedy in remedies],
            "owner": (explanation.owner if explanation else None) or asked.place.owner,
            "request": {"method": asked.request.method, "path": asked.target.path, "at": at},
            "person": None if who is None else {"username": who.id, "name": who.name},
            "wrong_url": "" if who is None else complaint_url(asked, decision_id),
            "auth_url": auth_origin(asked),
            "now": at,
        }

    def limited(self, asked: Asked, decision_id: str, limit: str) -> Answer:
        """Say that there are as many live streams as `limit` (of the resource's limits) allows."""
        most = int(getattr(asked.place.streams, limit))
        more = {"decision_id": decision_id, "limit": limit, "most": most}
        headers = (("retry-after", str(RETRY_AFTER_S)), (DECISION_ID, decision_id), *cors_headers(asked))
        sentence = LIMIT_SENTENCES[limit].format(most=most, name=asked.place.name)
        return problem(
            429, Code.STREAM_LIMIT, "Too many live connections", sentence, headers=headers, more=more
        )

    def _to_sign_in(self, asked: Asked, need: str, decision_id: str = "") -> Answer:
        nonce, cookie = self._flow(asked)
        location = ("location", authorize_url(asked, nonce, need))
        headers: tuple[Header, ...] = (location, cookie, ("cache-control", "no-store"))
        return Answer(302, (*headers, (DECISION_ID, decision_id)) if decision_id else headers)

    def _flow(self, asked: Asked) -> tuple[str, Header]:
        """Return the nonce of this browser's flow, the one it has if it has one, and its cookie."""
        known = asked.credentials.flow
        nonce = known if _NONCE.fullmatch(known) else self._make_nonce()
        attributes = f"Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={FLOW_COOKIE_MAX_AGE_S}"
        return nonce, ("set-cookie", f"{FLOW_COOKIE}={nonce}; {attributes}")

    def _page(
        self, status: int, template: str, headers: tuple[Header, ...] = (), /, **context: Any
    ) -> Answer:
        body = self._pages.render(template, **context).encode()
        return Answer(status, (*self._pages.headers.items(), *headers), body)


OUTAGE = problem(
    503,
    "UNAVAILABLE",
    "Limen cannot answer right now",
    "Nothing is open while access cannot be decided. Try again shortly.",
    headers=(("retry-after", str(RETRY_AFTER_S)),),
)


def _reasons(code: Code, explanation: Explanation | None) -> tuple[str, ...]:
    reasons = explanation.reasons if explanation else ()
    return reasons or (CODE_SENTENCES.get(code, "This is not open to you."),)


def _button(asked: Asked, remedy: Remedy, nonce: str) -> dict[str, Any]:
    url, button = None, None
    if remedy.id in NEEDS:
        button = NEEDS[remedy.id].button
        age = "" if remedy.max_age_s is None else f"&max_age={remedy.max_age_s}"
        url = authorize_url(asked, nonce, f"&need={remedy.id}{age}")
    return {"id": remedy.id, "sentence": remedy.sentence, "url": url, "button": button}


def cure(remedies: tuple[Remedy, ...]) -> tuple[str, int | None]:
    """Return the one sign-in that achieves all `remedies`, and how old it may be."""
    need = cured_by_sign_in(remedy.id for remedy in remedies)
    ages = [remedy.max_age_s for remedy in remedies if remedy.max_age_s is not None]
    return need, min(ages, default=None)


def cured_by_signing_in(explanation: Explanation) -> tuple[Remedy, ...]:
    """Return the remedies that signing in again achieves all of; none when it takes something else."""
    for remedies in (explanation.remedies, *explanation.alternatives):
        if cured_by_sign_in(remedy.id for remedy in remedies):
            return remedies
    return ()


def cors_headers(asked: Asked) -> tuple[Header, ...]:
    """Return what lets a page of a listed origin read a refusal (Fetch standard, CORS protocol)."""
    origin = asked.request.header(ORIGIN)
    if not asked.place.origins:
        return ()
    if origin not in asked.place.origins:
        return (("vary", "origin"),)
    return (
        ("access-control-allow-origin", origin),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "www-authenticate, x-limen-decision-id"),
        ("vary", "origin"),
    )


def _quotable(text: str) -> str:
    """Return text that may stand in a quoted string (RFC 9110 §5.6.4, RFC 6749 §5.2's characters)."""
    return re.sub(r"[^ !#-\[\]-~]", "", text)
