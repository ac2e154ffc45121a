"""Limen as a SAML identity provider: where apps send people to sign in, and out."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form
from starlette.responses import Response

from limen.administrator.saml_provider import SamlProvider
from limen.administrator.saml_values import Denied, SignInFirst, StepUpFirst
from limen.administrator.session_values import Over, TooMany
from limen.console import answers, client_pages
from limen.console.destinations import Target
from limen.console.guard import AnyCaller, Caller
from limen.console.saml_pages import pass_on
from limen.console.saml_routes import METADATA_TYPE, signed_out, too_many
from limen.core.errors import NotFound
from limen.information.identity.saml_bindings import Received, read_post, read_redirect

router = APIRouter()


@router.get("/saml-idp/metadata")
def metadata(caller: AnyCaller) -> Response:
    """Say who Limen is to apps."""
    _provider(caller)
    return Response(caller.parts.saml_names.metadata(), media_type=METADATA_TYPE)


@router.get("/saml-idp/sso")
def ask(caller: AnyCaller) -> Response:
    """Take an app's request."""
    return _ask(caller, read_redirect(caller.request.url.query))


@router.post("/saml-idp/sso")
def ask_form(
    caller: AnyCaller,
    request: Annotated[str, Form(alias="SAMLRequest")] = "",
    relay_state: Annotated[str, Form(alias="RelayState")] = "",
) -> Response:
    """The same by a form: it comes from another site, so browsers send no cookie of ours with it."""
    return _ask(caller, read_post({"SAMLRequest": request, "RelayState": relay_state}))


@router.get("/saml-idp/continue")
def proceed(caller: AnyCaller, id: str = "") -> Response:  # noqa: A002 - the query's word
    """Answer a request that was laid aside, by way of whatever is lacking."""
    path = f"/saml-idp/continue?id={quote(id)}"
    outcome = _provider(caller).proceed(id, caller.session, caller.browser.ip)
    match outcome:
        case SignInFirst():
            return answers.redirect(answers.with_flow("/login", Target(path=path)))
        case StepUpFirst(need=need):
            return answers.redirect(client_pages.step_up_url(path, need))
        case Denied(client=client, decided=decided):
            return client_pages.deny(caller, client, decided, path)
        case Over():
            return answers.message(
                caller, "This took too long", "Open the app again: it asks anew.", status=403
            )
        case _:
            return pass_on(caller, outcome, "Going on to the app")


@router.get("/saml-idp/logout")
def logout(caller: AnyCaller) -> Response:
    """End what an app asks to end."""
    return _logout(caller, read_redirect(caller.request.url.query))


@router.post("/saml-idp/logout")
def logout_form(
    caller: AnyCaller,
    request: Annotated[str, Form(alias="SAMLRequest")] = "",
    relay_state: Annotated[str, Form(alias="RelayState")] = "",
) -> Response:
    """The same by a form."""
    return _logout(caller, read_post({"SAMLRequest": request, "RelayState": relay_state}))


def _ask(caller: Caller, received: Received) -> Response:
    answer = _provider(caller).receive(received, caller.browser.ip)
    if isinstance(answer, TooMany):
        return too_many(caller, answer)
    return answers.redirect(f"/saml-idp/continue?id={quote(answer.reveal())}")


def _logout(caller: Caller, received: Received) -> Response:
    _provider(caller)
    answer = caller.parts.saml_logout.logout(received, caller.browser.ip)
    if isinstance(answer, TooMany):
        return too_many(caller, answer)
    return signed_out(caller) if answer is None else pass_on(caller, answer, "Signing out")


def _provider(caller: Caller) -> SamlProvider:
    """Return the provider.

    Raises:
        NotFound: no app of the bundle speaks SAML.
    """
    clients = caller.parts.deps.catalogue().clients.values()
    found = caller.parts.saml_idp
    if found is None or not any(client.saml for client in clients):
        raise NotFound("No app signs in here by SAML.", remedy="Add one under `clients:` of limen.yaml.")
    return found
