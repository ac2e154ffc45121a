"""The cookies of the sign-in host and of app hosts, in one table.

All are `__Host-`: bound to one host, so that a sibling app can neither read nor plant them.
"""

from starlette.requests import Request
from starlette.responses import Response

SESSION = "__Host-limen"  # sign-in host: the SSO session; app host: that app's session
FORM = "__Host-limen-form"  # anti-forgery: a random id of this browser
SIGN_IN = "__Host-limen-signin"  # a sign-in, enrolment or pairing under way
KNOWN = "__Host-limen-known"  # this browser has signed somebody in before
FLOW = "__Host-limen-flow"  # app host: binds an exchange code to the browser that asked
CURED = "__Host-limen-cured"  # app host: what was just achieved, so that no loop begins

LIFE_S: dict[str, int | None] = {
    SESSION: None,  # ends with the browser; the session itself has its own end
    FORM: None,
    SIGN_IN: 3600,
    KNOWN: 180 * 86_400,
    CURED: 60,
}


def set_cookie(response: Response, name: str, value: str) -> None:
    """Set one of our cookies."""
    response.set_cookie(
        name, value, max_age=LIFE_S[name], path="/", secure=True, httponly=True, samesite="lax"
    )


def clear_cookie(response: Response, name: str) -> None:
    """Remove one of our cookies."""
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")


def read_cookie(request: Request, name: str) -> str:
    """Return a cookie's value; an empty text if there is none, or if nobody can say which of two is ours.

    Read strictly. Python strips more than space and tab off a name, so that a cookie which a sibling app
    had set for the whole domain, with a no-break space before `__Host-limen`, passed for ours (RFC 6265 5.4).
    """
    headers = request.headers.getlist("cookie")
    pairs = [pair.strip(" \t").partition("=") for pair in headers[0].split(";")] if len(headers) == 1 else []
    values = [value for key, mark, value in pairs if mark and key == name]
    return values[0] if len(values) == 1 else ""
