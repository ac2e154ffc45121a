"""Who calls, and whether a form that changes something was meant.

Laws:
    G1 a state changes only by a form of ours: the hidden `csrf` is bound to this browser and its
       session, and `Origin` (or, without it, `Sec-Fetch-Site`) names this host itself. Sibling apps are
       same-site, so `SameSite` cookies alone would not keep them out.
    G2 the session cookie is looked up and never adopted.
"""

import hmac
import ipaddress
import re
import secrets
from functools import cached_property
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Form, Header
from starlette.requests import Request

from limen.administrator.session_values import Browser, Visit
from limen.console import cookies
from limen.console.deps import Parts
from limen.core.errors import Invalid, Refused, Unavailable
from limen.store.sessions import Session

PEER = "x-limen-peer"
"""The client's address, written by Envoy after it has removed whatever came under this name."""

_FORM_ID = re.compile(r"[0-9a-f]{32}")


class Caller:
    """One request: the browser behind it, and the session that it has."""

    def __init__(self, request: Request) -> None:
        self.request = request
        parts = request.app.state.parts
        assert isinstance(parts, Parts)
        self.parts = parts
        known = cookies.read_cookie(request, cookies.FORM)
        self.new_form = not _FORM_ID.fullmatch(known)
        self.form_id = secrets.token_hex(16) if self.new_form else known

    @cached_property
    def session(self) -> Session | None:
        """The live session of this browser."""
        token = cookies.read_cookie(self.request, cookies.SESSION)
        found = self.parts.sessions.find(token) if token else None
        if found is not None:
            self.parts.sessions.see(found)
        return found

    @cached_property
    def browser(self) -> Browser:
        """Where the request comes from."""
        return Browser(
            ip=_address(self.request.headers.get(PEER, "")),
            user_agent=self.request.headers.get("user-agent", ""),
            mark=cookies.read_cookie(self.request, cookies.KNOWN),
        )

    @property
    def visit(self) -> Visit:
        """The browser in the act of signing in."""
        return Visit(
            browser=self.browser,
            presented=self.session,
            flow_token=cookies.read_cookie(self.request, cookies.SIGN_IN),
            form_id=self.form_id,
        )

    @property
    def csrf(self) -> str:
        """The hidden field of this browser's forms."""
        bound = f"form\0{self.form_id}\0{self.session.id if self.session else ''}"
        return hmac.digest(self.parts.deps.token_key, bound.encode(), "sha256").hex()

    @property
    def wants_json(self) -> bool:
        """Whether a program asks, not a page."""
        kinds = self.request.headers.get("accept", "") + self.request.headers.get("content-type", "")
        return "application/json" in kinds

    def verify_form(self, csrf: str) -> None:
        """Check that a form is ours (law G1).

        Raises:
            Refused: it comes from elsewhere, or from a page of before the last sign-in.
        """
        origin = self.request.headers.get("origin")
        site = self.request.headers.get("sec-fetch-site")
        if origin is not None and origin != self.parts.desk.auth_origin:
            raise _foreign()
        if site is not None and site not in ("same-origin", "none"):
            raise _foreign()
        if self.new_form or not hmac.compare_digest(csrf.encode(), self.csrf.encode()):
            raise Refused(
                "This page is out of date.", remedy="Load it again, and send it anew.", code="FORM_STALE"
            )

    def context(self) -> dict[str, Any]:
        """Return what every page is given."""
        person, alarm = None, None
        if self.session is not None:
            alarm = self.parts.break_glass.running()
            owner = self.parts.step_up.owner(self.session)
            person = {"username": self.session.person, "name": owner.name if owner else ""}
        return {
            "csrf": self.csrf,
            "domain": self.parts.deps.catalogue().domain,
            "person": person,
            "alarm": alarm,
            "now": self.parts.deps.clock.now(),
        }


def find_caller(request: Request) -> Caller:
    """Return who calls."""
    return Caller(request)


def verify_form(caller: Annotated[Caller, Depends(find_caller)], csrf: Annotated[str, Form()] = "") -> Caller:
    """Return who calls, once their form is known to be ours."""
    caller.verify_form(csrf)
    return caller


def verify_script(
    caller: Annotated[Caller, Depends(find_caller)],
    x_csrf_token: Annotated[str, Header()] = "",
    content_type: Annotated[str, Header()] = "",
) -> Caller:
    """Return who calls from our own script, once that is known. JSON needs a preflight from elsewhere."""
    if content_type.split(";")[0].strip().lower() != "application/json":
        raise _foreign()
    caller.verify_form(x_csrf_token)
    return caller


def read_credential(body: dict[str, Any]) -> str:
    """Return what a passkey said, as JSON.

    Raises:
        Invalid: it holds what no browser sends: half a surrogate pair, or endless nesting.
    """
    try:
        return msgspec.json.encode(body.get("credential")).decode()
    except (ValueError, RecursionError):
        raise Invalid("This is not the answer of a passkey.", remedy="Try again.") from None


class SignInWanted(Exception):
    """A page that needs a session was asked for without one. Answered by the way to sign in."""


def require_session(caller: Caller) -> Session:
    """Return the caller's session.

    Raises:
        SignInWanted: there is none.
    """
    if caller.session is None:
        raise SignInWanted
    return caller.session


AnyCaller = Annotated[Caller, Depends(find_caller)]
FormCaller = Annotated[Caller, Depends(verify_form)]
ScriptCaller = Annotated[Caller, Depends(verify_script)]


def _foreign() -> Refused:
    return Refused("This form was not sent from here.", remedy="Open the page itself.", code="CROSS_ORIGIN")


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return "unknown"


def unavailable() -> Unavailable:
    """Return what an empty system answers."""
    return Unavailable(
        "Limen is not set up yet.", remedy="Open the link that `limen up` has printed.", code="NOT_SET_UP"
    )
