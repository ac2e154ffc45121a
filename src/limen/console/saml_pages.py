"""What SAML's routes answer with: a message passed on through the browser, a denial."""

from starlette.responses import Response

from limen.administrator.saml_post import Dispatch
from limen.administrator.saml_values import Denied
from limen.administrator.step_up import Need, is_met
from limen.console import answers, pages
from limen.console.destinations import Target
from limen.console.guard import Caller
from limen.core.decision import AUTH_REMEDIES, Explanation, Remedy
from limen.enforcement.check.refusals import BUTTONS, cure, cured_by_signing_in
from limen.enforcement.check.sentences import CODE_SENTENCES


def pass_on(caller: Caller, dispatch: Dispatch, title: str) -> Response:
    """Send the browser on with a message: by a redirect, or by a form that sends itself.

    The form's page has no `form-action`: browsers hold that against every redirect that follows, and where an
    app sends people after it has read the message is its own affair. The page has one form, of ours.
    """
    if not dispatch.fields:
        return answers.redirect(dispatch.url)
    response = answers.page(
        caller, "onward_form.html", title=title, url=dispatch.url, fields=dispatch.fields, label="Go on"
    )
    policy = pages.content_security_policy().split("; ")
    kept = [part for part in policy if not part.startswith("form-action")]
    response.headers["content-security-policy"] = "; ".join(kept)
    return response


def deny(caller: Caller, denied: Denied, path: str) -> Response:
    """Say no, why, and what would make it a yes; what signing in again would cure leads there.

    Args:
        caller: somebody who is signed in.
        denied: by policy.
        path: of ours that asks again.
    """
    session, decided = caller.session, denied.decided
    assert session is not None
    authority = caller.parts.deps.authority
    assert authority is not None
    explanation = authority.explain(decided)
    remedies = cured_by_signing_in(explanation)
    if remedies:
        need, max_age_s = cure(remedies)
        if not is_met(Need(need, max_age_s), session, caller.parts.deps.clock.now()):
            return answers.redirect(_step_up(path, need, max_age_s))
    code = decided.decision.code
    return answers.page(
        caller,
        "denied.html",
        status=403,
        title="This door stays closed for now",
        decision_id=decided.request.id,
        app=denied.client.title or denied.client.name,
        reasons=explanation.reasons or (CODE_SENTENCES.get(code, "This is not open to you."),),
        remedies=[_button(one, path) for one in explanation.remedies],
        owner=_owner(explanation, denied),
        request={"method": "", "path": denied.client.name, "at": decided.request.at},
        wrong_url=f"/complaints/new?decision={decided.request.id}",
    )


def _owner(explanation: Explanation, denied: Denied) -> str | None:
    return explanation.owner or denied.client.owner


def _button(remedy: Remedy, path: str) -> dict[str, str | None]:
    url = _step_up(path, remedy.id, remedy.max_age_s) if remedy.id in AUTH_REMEDIES else None
    return {"id": remedy.id, "sentence": remedy.sentence, "url": url, "button": BUTTONS.get(remedy.id)}


def _step_up(path: str, need: str, max_age_s: int | None) -> str:
    return answers.with_flow("/login/step-up", Target(path=path, need=need, max_age_s=max_age_s))
