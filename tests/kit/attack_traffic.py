"""A scripted run that goes on while processes are killed, and remembers everything that was acknowledged."""

import json
import threading
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

from attack_rig import Person, Target
from attack_wire import NAVIGATION, SCRIPT, eventually
from envoy_rig import Reply

from limen.api.client import AdminClient
from limen.core.errors import LimenError
from limen.services.state import StateDir

PAUSE_S = 0.03
RECOVERS_WITHIN_S = 90.0  # a start takes 2 s on a machine that does nothing else
DECISION = "x-limen-decision-id"


class Traffic:
    """An operator who adds people, somebody who may, somebody who may not, somebody who was signed out.

    Attributes:
        added: people whose addition control acknowledged.
        decided: ids of decisions that a client or an app was told.
        wrong: answers that should never have been given.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.added: list[str] = []
        self.decided: set[str] = set()
        self.wrong: list[tuple[str, int]] = []
        self._admin = AdminClient(StateDir(target.demo.state_dir).socket("admin"))
        self.staff = Person.enrolled(target.demo, "staff")
        self.allowed = self.staff.open("vault")
        self._ended = self._gone()
        self._over = threading.Event()
        steps = (self._add, self._may, self._may_not, self._nobody, self._was_signed_out)
        self._threads = [threading.Thread(target=self._repeat, args=(step,), daemon=True) for step in steps]

    def _gone(self) -> str:
        person = Person.enrolled(self.target.demo, "staff")
        cookie = person.open("vault")
        self._admin.delete("/v1/sessions", person=person.username, reason="kill test")
        assert eventually(lambda: self.ask("/", cookie=cookie) == 401)
        return cookie

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def ask(self, path: str, *, cookie: str = "", navigation: bool = False) -> int:
        """Ask once; return the status, 0 where nobody answered. Remember what was told."""
        reply = self._reply(path, cookie, navigation=navigation)
        if reply is None:
            return 0
        told = reply.get(DECISION)
        if reply.status == 200 and path != "/healthz":
            headers = json.loads(reply.body)["headers"]
            told = next((value for name, value in headers if name.lower() == DECISION), None)
            if told is None:
                self.wrong.append(("allowed without a decision", 200))
        if told:
            self.decided.add(told)
        return reply.status

    def whole(self) -> bool:
        """Return whether everything works: allowed, denied, sign-in, administration."""
        return (
            self.ask("/", cookie=self.allowed) == 200
            and self.ask("/") == 401
            and self.ask("/admin", cookie=self.allowed, navigation=True) == 403
            and self._sign_in_page() == 200
            and self._administers()
        )

    def missing(self) -> tuple[list[str], set[str]]:
        """Return what was acknowledged and is not there: people, decisions."""
        people = [name for name in self.added if not self._is_there(name)]
        kept = {row["id"] for row in self._admin.get("/v1/decisions", since_s=3600, limit=10_000)}
        lost = {decision for decision in self.decided - kept if not self._is_recorded(decision)}
        return people, lost

    def _repeat(self, step: Callable[[int], None]) -> None:
        number = 0
        while not self._over.wait(PAUSE_S):
            number += 1
            step(number)

    def _add(self, number: int) -> None:
        name = f"k{number}-{id(self):x}"
        try:
            self._admin.post("/v1/people", {"id": name, "reason": "kill test"})
        except LimenError:
            return  # not acknowledged
        self.added.append(name)

    def _may(self, number: int) -> None:
        self._expect("may", self.ask(f"/page{number}", cookie=self.allowed), {200, 503, 0})

    def _may_not(self, number: int) -> None:
        status = self.ask("/admin", cookie=self.allowed, navigation=number % 2 == 0)
        self._expect("may not", status, {403, 503, 0})

    def _nobody(self, number: int) -> None:
        status = self.ask("/", navigation=number % 2 == 0)
        self._expect("nobody", status, {302, 401, 503, 0})

    def _was_signed_out(self, number: int) -> None:
        status = self.ask("/", cookie=self._ended, navigation=number % 2 == 0)
        self._expect("was signed out", status, {302, 401, 503, 0})

    def _expect(self, who: str, status: int, possible: set[int]) -> None:
        if status not in possible:
            self.wrong.append((who, status))

    def _reply(self, path: str, cookie: str, *, navigation: bool = False, app: str = "vault") -> Reply | None:
        headers: Any = NAVIGATION if navigation else SCRIPT
        try:
            return self.target.wire.ask(app, path, *headers, cookie=cookie)
        except (OSError, HTTPException):
            return None

    def _sign_in_page(self) -> int:
        reply = self._reply("/login", "", navigation=True, app="auth")
        return 0 if reply is None else reply.status

    def _administers(self) -> bool:
        try:
            return bool(self._admin.get("/v1/status"))
        except LimenError:
            return False

    def _is_there(self, name: str) -> bool:
        try:
            return bool(self._admin.get(f"/v1/people/{name}"))
        except LimenError:
            return False

    def _is_recorded(self, decision: str) -> bool:
        try:
            return bool(self._admin.get(f"/v1/decisions/{decision}"))
        except LimenError:
            return False
