"""People of a conformance run: added through the admin API, enrolled and signed in through the pages."""

import asyncio
import re
import secrets
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import msgspec

from limen.core import base64url
from limen.core.errors import Unavailable
from limen.core.secret import Secret
from limen.information.identity import totp
from limen.services.conformance.streams import Door
from limen.services.form_client import NAVIGATION, Form, FormClient

AT_ONCE = 4  # people who enrol at the same time
REDIRECT = "http://127.0.0.1:9/callback"  # nobody listens: the code is read off the redirect itself
_KEY = re.compile(r'<p class="copyable mono">(.+?)</p>')
_TAG = re.compile(r"<[^>]+>")


class Holder(msgspec.Struct):
    """One person who holds streams open.

    Attributes:
        cookie: the app's session, as a Cookie header.
        token: of the client of `limen connect`.
        session_id: the session that both are children of.
    """

    username: str
    cookie: str
    token: str
    session_id: str = ""


class Enroller:
    """Makes people. One CA and one door serve for all: sessions are good at every gateway."""

    def __init__(self, admin: Any, door: Door, auth_host: str, ca_file: Path) -> None:
        self._admin = admin
        self._door = door
        self._auth = f"https://{door.authority(auth_host)}"
        self._ca_file = ca_file
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def enrol(self, username: str, groups: tuple[str, ...], place: str = "") -> Holder:
        """Add a person, and sign them in to a place's app and as a program."""
        async with self._gate:
            return await asyncio.to_thread(self._enrol, username, groups, place)

    def _enrol(self, username: str, groups: tuple[str, ...], place: str) -> Holder:
        host = self._door.at(place).app_host
        added = self._admin.post(
            "/v1/people",
            {"id": username, "name": username, "email": f"{username}@limen.invalid", "groups": list(groups),
             "reason": "conformance"},
        )  # fmt: skip
        with FormClient(self._ca_file) as browser:
            self._set_up(browser, added["enrolment_link"])
            browser.get(f"https://{self._door.authority(host)}/tick")
            jar = browser.http.cookies.jar
            found = [c for c in jar if c.name == "__Host-limen" and c.domain == host]
            if not found:
                raise Unavailable(f"{username} could not be signed in to {host}.")
            token = self._program(browser)
        sessions = self._admin.get("/v1/sessions", person=username)
        return Holder(username, f"__Host-limen={found[0].value}", token, str(sessions[0]["id"]))

    def _set_up(self, browser: FormClient, link: str) -> None:
        """Go through enrolment: a password, an authenticator app, recovery codes."""
        password = secrets.token_urlsafe(18)
        page = browser.submit(browser.get(link), {"password": password, "password_again": password})
        if "method" in Form(str(page.url), page.text).fields:
            page = browser.submit(page, {"method": "totp"})
        seed = _KEY.search(page.text)
        if seed is None:
            raise Unavailable(f"Enrolment shows no key at {page.url.path} ({page.status_code}).")
        code = totp.code_at(Secret(_TAG.sub("", seed[1])), time.time())
        page = browser.submit(page, {"code": code})
        browser.submit(page, {"kept": "yes"})

    def _program(self, browser: FormClient) -> str:
        """Get a program's token, as `limen login` does."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64url.sha256(verifier)
        query = {
            "response_type": "code",
            "client_id": "limen-connect",
            "redirect_uri": REDIRECT,
            "state": secrets.token_hex(8),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        page = browser.get(f"{self._auth}/connect/authorize?{urlencode(query)}")
        form = Form(str(page.url), page.text)
        said = browser.http.post(
            form.action,
            data={**form.hidden, "answer": "allow"},
            headers={**NAVIGATION, "Origin": self._auth, "Sec-Fetch-Site": "same-origin"},
            follow_redirects=False,
        )
        code = parse_qs(urlsplit(said.headers["location"]).query)["code"][0]
        answer: httpx.Response = browser.http.post(
            f"{self._auth}/connect/token",
            data={
                "grant_type": "authorization_code",
                "client_id": "limen-connect",
                "code": code,
                "redirect_uri": REDIRECT,
                "code_verifier": verifier,
            },
        )
        return str(answer.json()["access_token"])
