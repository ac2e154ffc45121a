"""The three sample apps and the ledger, running, each on a loopback port of its own, in one process."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from limen.core.errors import Unavailable
from limen.services.demo.identity import Verifier
from limen.services.demo.ledger import LedgerServer
from limen.services.demo.payroll import Payroll
from limen.services.demo.tool import Tool
from limen.services.demo.web import AppServer
from limen.services.demo.wiki import Wiki

JWKS_PATH = "/.well-known/limen/jwks.json"


class SampleApps:
    """wiki, payroll, tool, and the ledger, which is no web app.

    They listen once this is made, and answer once `start` is called.

    Args:
        folder: where the wiki keeps its pages.
        domain, auth_url, ca_file: of the system that will guard them: where they find its keys, and
            for which audience its assertions are made out. The CA may be made later.
    """

    def __init__(self, folder: Path, *, auth_url: str, ca_file: Path) -> None:
        fetch = partial(fetch_keys, auth_url, ca_file)
        self._servers = {
            "wiki": AppServer(Wiki(folder / "wiki").answer),
            "payroll": AppServer(Payroll(Verifier("payroll", fetch)).answer),
            "tool": AppServer(Tool(Verifier("tool", fetch)).answer),
        }
        self._ledger = LedgerServer()

    @property
    def urls(self) -> Mapping[str, str]:
        """Return the upstream of each app, by name."""
        return {name: server.url for name, server in self._servers.items()}

    @property
    def services(self) -> Mapping[str, str]:
        """Return the address of each service, by name."""
        return {"ledger": self._ledger.address}

    def start(self) -> None:
        """Begin to answer."""
        for server in self._servers.values():
            server.start()
        self._ledger.start()

    def stop(self) -> None:
        """Stop all of them."""
        for server in self._servers.values():
            server.stop()
        self._ledger.stop()


def fetch_keys(auth_url: str, ca_file: Path) -> Mapping[str, Any]:
    """Return the keys that assertions are signed with, from where any app finds them.

    Raises:
        Unavailable: they cannot be had.
    """
    from limen.services.form_client import FormClient

    with FormClient(ca_file) as client:
        answer = client.get(f"{auth_url}{JWKS_PATH}")
    if answer.status_code != 200:
        raise Unavailable(
            f"{auth_url}{JWKS_PATH} answered {answer.status_code}.", remedy="Look at control's log."
        )
    return dict(answer.json())
