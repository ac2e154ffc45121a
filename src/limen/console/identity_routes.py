"""Accounts elsewhere, on a person's own pages: which ones sign in here, one more, one less."""

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.responses import Response

from limen.administrator.session_values import TooMany
from limen.console import answers, cookies
from limen.console.destinations import Target
from limen.console.guard import AnyCaller, Caller, FormCaller, require_session
from limen.console.provider_choice import go_on, titles_of
from limen.store.sessions import Session

PAGE = "/account/providers"

router = APIRouter()

Text = Annotated[str, Form()]


@router.get(PAGE)
def providers_page(caller: AnyCaller) -> Response:
    """Show them."""
    session = require_session(caller)
    links = caller.parts.upstream_links
    titles = titles_of(caller.parts.deps.catalogue())
    linked = [
        {
            "source": one.source,
            "subject": one.subject,
            "title": titles.get(one.source, one.source.partition(":")[2]),
            "linked": one.linked_at,
            "own": one.source.startswith(("oidc:", "saml:")),
        }
        for one in links.mine(session)
    ]
    linkable = [{"name": name, "title": titles[f"oidc:{name}"]} for name in links.linkable(session)]
    return answers.page(caller, "providers.html", linked=linked, linkable=linkable)


@router.post(f"{PAGE}/link")
def link(caller: FormCaller, provider: Text = "") -> Response:
    """Go to a provider, to prove the account that is to be linked."""
    session = require_session(caller)
    if (step_up := _step_up_url(caller, session)) is not None:
        return answers.redirect(step_up)
    caller.parts.upstream_links.require(session, provider)
    answer = caller.parts.upstream.start(provider, caller.visit, destination="", link_to=session.person)
    if isinstance(answer, TooMany):
        return answers.message(caller, "Too many attempts", answers.wait_words(answer.wait_s), status=429)
    url, token = answer
    response = go_on(caller, titles_of(caller.parts.deps.catalogue())[f"oidc:{provider}"], url)
    cookies.set_cookie(response, cookies.SIGN_IN, token.reveal())
    return response


@router.post(f"{PAGE}/unlink")
def unlink(caller: FormCaller, source: Text = "", subject: Text = "") -> Response:
    """Unlink an account."""
    session = require_session(caller)
    if (step_up := _step_up_url(caller, session)) is not None:
        return answers.redirect(step_up)
    caller.parts.upstream_links.unlink(session, source, subject)
    return answers.redirect(PAGE)


def _step_up_url(caller: Caller, session: Session) -> str | None:
    need = caller.parts.upstream_links.lacks(session)
    return answers.with_flow("/login/step-up", Target(path=PAGE, need=need.id)) if need else None
