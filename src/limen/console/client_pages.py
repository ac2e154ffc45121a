"""What people see on their way to a client: a denial that explains itself, the way onward."""

from collections.abc import Iterable, Sequence
from typing import Any

from starlette.responses import Response

from limen.administrator.authority import Answer
from limen.administrator.oauth.logout import origin_of
from limen.administrator.step_up import Need, is_met
from limen.console import answers, cookies
from limen.console.destinations import Target
from limen.console.guard import Caller
from limen.core.client_config import ClientConfig
from limen.core.decision import Remedy
from limen.core.errors import Unavailable
from limen.core.needs import NEEDS
from limen.enforcement.check.refusals import cure, cured_by_signing_in
from limen.enforcement.check.sentences import CODE_SENTENCES


def deny(caller: Caller, client: ClientConfig, answer: Answer, path: str) -> Response:
    """Say no, why, and what would make it a yes; what signing in again would cure leads there.

    Args:
        caller: somebody who is signed in.
        client: where they wanted to sign in.
        answer: the denial.
        path: of ours that asks again.
    """
    authority, session = caller.parts.deps.authority, caller.session
    if authority is None or session is None:
        raise Unavailable("Nobody can sign in there now.", remedy="Try again in a moment.")
    explanation = authority.explain(answer)
    remedies = cured_by_signing_in(explanation)
    if remedies:
        need, max_age_s = cure(remedies)
        if not is_met(Need(need, max_age_s), session, caller.parts.deps.clock.now()):
            return answers.redirect(step_up_url(path, Need(need, max_age_s)))
    said = CODE_SENTENCES.get(answer.decision.code, "This is not open to you.")
    return answers.page(
        caller,
        "denied.html",
        status=403,
        title="This door stays closed for now",
        decision_id=answer.request.id,
        app=client.title or client.name,
        reasons=explanation.reasons or (said,),
        remedies=_buttons(explanation.remedies, path),
        owner=explanation.owner or client.owner,
        request={"method": "sign in", "path": client.name, "at": answer.request.at},
        wrong_url=f"/complaints/new?decision={answer.request.id}",
    )


def step_up_url(path: str, need: Need) -> str:
    """Return where a session gets what it lacks, and comes back to `path`."""
    target = Target(path=path, need=need.id, max_age_s=need.max_age_s, since=need.since)
    return answers.with_flow("/login/step-up", target)


def onward(caller: Caller, url: str, client: ClientConfig) -> Response:
    """Lead the browser to a client.

    Browsers hold `form-action` of the sign-in page against every redirect that follows its form, and clients
    are elsewhere. So whoever comes from a page of ours gets a page that goes on by itself.
    """
    site = caller.request.headers.get("sec-fetch-site", "")
    referrer = caller.request.headers.get("referer", "")
    if site != "same-origin" and not referrer.startswith(f"{caller.parts.desk.auth_origin}/"):
        return answers.redirect(url)
    name = client.title or client.name
    return answers.page(caller, "client_onward.html", title=f"On to {name}", url=url, label=f"Go to {name}")


def signed_out(
    caller: Caller, go_on: str = "", client: ClientConfig | None = None, frames: Sequence[str] = ()
) -> Response:
    """Say that a session is over, in the browser that it was in.

    Args:
        caller: whose session has ended.
        go_on: a registered address of `client`, or empty.
        client: who asked for it.
        frames: addresses of clients that hear of it by being loaded (Front-Channel Logout 1.0).
    """
    caller.__dict__["session"] = None  # it has just ended
    response = answers.page(
        caller,
        "signed_out.html",
        title="You are signed out",
        go_on=go_on,
        client=(client.title or client.name) if client is not None else "",
        frames=frames,
    )
    if frames:
        sources = " ".join(sorted({origin_of(frame) for frame in frames}))
        response.headers["content-security-policy"] += f"; frame-src {sources}"
    cookies.clear_cookie(response, cookies.SESSION)
    return response


def frames_of(caller: Caller) -> tuple[str, ...]:
    """Return the frames of the caller's session, which is about to end."""
    oauth, session = caller.parts.oauth, caller.session
    return oauth.logout.frames(session) if oauth is not None and session is not None else ()


def _buttons(remedies: Iterable[Remedy], path: str) -> list[dict[str, Any]]:
    found = []
    for one in remedies:
        need = NEEDS.get(one.id)
        url = None if need is None else step_up_url(path, Need(one.id, one.max_age_s))
        button = None if need is None else need.button
        found.append({"id": one.id, "sentence": one.sentence, "url": url, "button": button})
    return found
