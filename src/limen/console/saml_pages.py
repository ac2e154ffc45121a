"""A SAML message passed on through the browser."""

from starlette.responses import Response

from limen.administrator.saml_post import Dispatch
from limen.console import answers, pages
from limen.console.guard import Caller


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
