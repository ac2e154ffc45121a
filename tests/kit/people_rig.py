"""A control whose people call the admin API with the tokens of `limen login`. The clock stands still."""

from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from limen.administrator.session_values import Browser, Opened, Proof
from limen.core.clock import FakeClock
from limen.engine.starter import starter_files
from limen.information.identity.assurance import Assurance
from limen.services import control as control_module
from limen.services.control import Control, ControlOptions
from limen.services.state import StateDir

DOMAIN = "corp.example"
AUTH = f"https://auth.{DOMAIN}"
PEER = {"x-limen-peer": "203.0.113.9"}
APPS = """
apps:
  wiki: {upstream: "http://127.0.0.1:9001", owner: olga, allow: [group:staff]}
  payroll: {upstream: "http://127.0.0.1:9002", owner: paul, allow: [group:hr]}
"""
ROLES = {
    "root": "limen-admins",
    "oscar": "limen-operators",
    "heidi": "limen-helpdesk",
    "audrey": "limen-auditors",
}


class PeopleRig:
    """Root, an operator, a help desk and an auditor; olga owns the wiki; eve is nobody."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.clock = FakeClock()
        files = starter_files(DOMAIN)
        files["limen.yaml"] += APPS
        if more:
            files["policies/more.cedar"] = more
            files["tests/limen.yaml"] = ""  # what the starter bundle says of itself
        for name, text in files.items():
            (folder / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "bundle" / name).write_text(text)
        options = ControlOptions(state=folder / "s", bundle=folder / "bundle", public_port=443, metrics=None)
        system = control_module.SystemClock
        control_module.SystemClock = lambda: self.clock  # type: ignore[assignment,misc]
        try:
            self.control = Control(StateDir.create(folder / "s"), options)
        finally:
            control_module.SystemClock = system  # type: ignore[misc]
        self.host = TestClient(self.control.admin, client=("uid:0", 1))
        self.http = TestClient(self.control.console, base_url=AUTH, headers=PEER, follow_redirects=False)
        for name, group in ROLES.items():
            self.add(name, group)
        for name in ("olga", "paul", "eve"):
            self.add(name, "staff")

    @property
    def parts(self) -> Any:
        """The console's services."""
        return self.control._parts

    def add(self, name: str, *groups: str, **more: Any) -> dict[str, Any]:
        """Add a person as the host's operator."""
        answer = self.host.post("/v1/people", json={"id": name, "groups": list(groups), **more})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def session(self, person: str, *, aal: int = 2, methods: tuple[str, ...] = ("passkey",)) -> Opened:
        """Sign somebody in, now."""
        proof = Proof(methods, Assurance(aal, phishing_resistant=aal > 1), self.clock.now())
        with self.parts.desk.ledger.entry(person, "test") as entry:
            opened: Opened = self.parts.sessions.start(entry, person, proof, Browser("203.0.113.9"))
        return opened

    def token(self, person: str, *, aal: int = 2) -> str:
        """Return what `limen login` would get somebody."""
        session = self.session(person, aal=aal).session
        with self.parts.desk.ledger.entry(person, "test") as entry:
            issued = self.parts.sessions.open_program(entry, session.id, "limen login")
        return str(issued[0].reveal())

    def caller(self, person: str, *, aal: int = 2) -> "Person":
        """Return somebody who calls from elsewhere."""
        return Person(self, self.token(person, aal=aal))


class Person:
    """Somebody at the admin API."""

    def __init__(self, rig: PeopleRig, token: str) -> None:
        self._rig = rig
        self._bearer = {"authorization": f"Bearer {token}"}

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Call, and return the answer."""
        url = f"/api{path}"
        return self._rig.http.request(method, url, headers=self._bearer, json=body, params=query or None)

    def get(self, path: str, **query: Any) -> Any:
        """Read."""
        return self.call("GET", path, **query)

    def post(self, path: str, body: Any) -> Any:
        """Do."""
        return self.call("POST", path, body)
