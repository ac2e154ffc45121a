"""One person with one browser and one passkey, on the way through the demo's apps."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec

from limen.core.errors import Refused
from limen.core.secret import Secret
from limen.information.identity import totp
from limen.services.demo.authenticator import SoftwarePasskey
from limen.services.demo.seen import PageSeen, PasskeyForm, read_page
from limen.services.form_client import FormClient

NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
SCRIPT = {"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
OK = 200
DECISION_HEADER = "x-limen-decision-id"


class Answer(msgspec.Struct, frozen=True):
    """What came back for one request, without following it anywhere."""

    status: int
    took_ms: float
    location: str
    decision_id: str
    challenge: str
    page: PageSeen
    problem: Mapping[str, Any]


class HeldStream:
    """A stream that is being read.

    Attributes:
        ended: set once the last byte has come, at `ended_at` (Unix seconds).
    """

    def __init__(self, answer: httpx.Response) -> None:
        self.ended = threading.Event()
        self.ended_at = 0.0
        self._answer = answer
        self._ticks = threading.Semaphore(0)
        threading.Thread(target=self._read, daemon=True).start()

    def wait_tick(self, timeout_s: float) -> bool:
        """Return once another event has come, or False when none came in time."""
        return self._ticks.acquire(timeout=timeout_s)

    def _read(self) -> None:
        try:
            for line in self._answer.iter_lines():
                if line.startswith("data:"):
                    self._ticks.release()
        except httpx.HTTPError:
            pass  # cut, not finished: the gateway resets what it ends
        finally:
            self.ended_at = time.time()
            self.ended.set()


class Traveller:
    """A browser by hand: forms, cookies and a passkey, but no scripts."""

    def __init__(self, ready: Mapping[str, Any], username: str = "") -> None:
        self.username = username
        self._who = ready["people"].get(username, {})
        self._auth_url = str(ready["auth_url"]).rstrip("/")
        self._browser = FormClient(Path(ready["ca_file"]))
        self._passkey = SoftwarePasskey()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.http.close()

    def ask(self, url: str, *, script: bool = False) -> Answer:
        """Ask once: as a person who follows a link, or as a page's own script."""
        started = time.perf_counter()
        answer = self._browser.http.get(url, headers=SCRIPT if script else NAVIGATION, follow_redirects=False)
        took_ms = (time.perf_counter() - started) * 1000
        kind = answer.headers.get("content-type", "")
        page = read_page(answer.text) if kind.startswith("text/html") else PageSeen()
        return Answer(
            answer.status_code,
            took_ms,
            answer.headers.get("location", ""),
            answer.headers.get(DECISION_HEADER, "") or page.decision_id,
            answer.headers.get("www-authenticate", ""),
            page,
            answer.json() if kind.startswith("application/problem+json") else {},
        )

    @contextmanager
    def hold(self, url: str) -> Iterator[HeldStream]:
        """Open a stream of server-sent events, as a page's own script does, and read it in a thread.

        Raises:
            Refused: it is not open to this person.
        """
        headers = {**SCRIPT, "Accept": "text/event-stream"}
        with self._browser.http.stream("GET", url, headers=headers) as answer:
            if answer.status_code != OK:
                raise Refused(f"{urlsplit(url).path} was answered with {answer.status_code}.")
            yield HeldStream(answer)

    def follow(self, url: str) -> PageSeen:
        """Go to `url` and wherever it leads; return the page at the end."""
        return read_page(self._browser.get(url).text)

    def sign_in(self, url: str) -> httpx.Response:
        """Sign in with password and one-time code, on the way to `url`.

        The code of this half minute may have been used already (each counts once): then the next one,
        which a clock that is a little ahead would show, does.
        """
        try:
            return self._sign_in(url, ahead=0)
        except Refused:
            return self._sign_in(url, ahead=1)

    def add_passkey(self) -> None:
        """Enrol the passkey on the account page.

        Raises:
            Refused: the page has no form for it, or did not take it.
        """
        page = self._browser.get(f"{self._auth_url}/account")
        self._perform(page, "create")

    def step_up(self, url: str) -> httpx.Response:
        """Go to `url`, show the passkey where it is asked for, and return the page that this leads to.

        Raises:
            Refused: it was not asked for, or not taken.
        """
        page = self._browser.get(url)
        return self._browser.get(self._perform(page, "get"))

    def _sign_in(self, url: str, *, ahead: int) -> httpx.Response:
        seed = Secret(str(self._who["totp_secret"]))

        def code() -> Secret[str]:
            return Secret(totp.code_at(seed, time.time() + ahead * totp.STEP_S))

        return self._browser.sign_in(url, self.username, Secret(str(self._who["password"])), code)

    def _perform(self, page: httpx.Response, kind: str) -> str:
        """Do what a page's script does with a passkey; return where to go next."""
        url = str(page.url)
        form = next((form for form in read_page(page.text).passkey_forms if form.kind == kind), None)
        if form is None:
            raise Refused(f"{urlsplit(url).path} has no form for a passkey ({page.status_code}).")
        origin = f"{page.url.scheme}://{page.url.netloc.decode()}"
        options = self._exchange(url, origin, form.options_url, form, {})
        ceremony = self._passkey.create if kind == "create" else self._passkey.get
        taken = self._exchange(url, origin, form.finish_url, form, {"credential": ceremony(options, origin)})
        return urljoin(url, str(taken.get("next", "/")))

    def _exchange(
        self, url: str, origin: str, to: str, form: PasskeyForm, more: Mapping[str, Any]
    ) -> dict[str, Any]:
        answer = self._browser.http.post(
            urljoin(url, to),
            json={**form.hidden, **more},
            headers={
                **SCRIPT,
                "Origin": origin,
                "Sec-Fetch-Site": "same-origin",
                "X-CSRF-Token": form.hidden.get("csrf", ""),
            },
        )
        told: dict[str, Any] = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        if not answer.is_success or told.get("error"):
            said = told.get("error") or told.get("detail") or f"status {answer.status_code}"
            raise Refused(f"{to} did not take the passkey: {said}")
        return told
