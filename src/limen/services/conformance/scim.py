"""The change of a conformance run that comes from outside: a SCIM client deactivates a person.

It goes the way of a real client: HTTPS, the gateway, the client's token, `PATCH active: false`.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from limen.core.errors import Unavailable
from limen.services.conformance import bundle
from limen.services.conformance.cells import Cell, Since, World, since
from limen.services.conformance.people import Holder
from limen.services.conformance.streams import Door
from limen.services.form_client import verified_transport

PATCH_URN = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
TOKEN_S = 3_600.0


class ScimClient:
    """The run's SCIM client, at one gateway. It keeps whoever it is given."""

    def __init__(self, door: Door, auth_host: str, ca_file: Path) -> None:
        self._base = f"https://{door.authority(auth_host)}/scim/v2"
        self._ca_file = ca_file
        self._token = self._token_id = ""

    def cell(self) -> Cell:
        """Return the change."""
        return Cell("scim deactivation", self.deactivate, prepare=self.adopt)

    def adopt(self, world: World, holder: Holder) -> None:
        """Have the person handed over to the client."""
        path = f"/v1/scim/{bundle.NAME}"
        body = {"name": "conformance", "expires_s": TOKEN_S, "overlap_s": 0, "reason": "conformance"}
        made = world.call("POST", f"{path}/tokens", json=body)[0]
        self._token, self._token_id = str(made["token"]), str(made["id"])
        given = {"people": [holder.username], "reason": "conformance"}
        world.call("POST", f"{path}/people", json=given)

    def deactivate(self, world: World, holder: Holder) -> Since:
        """Deactivate the person; count from the instant that the answer says it was written."""
        with self._http() as http:
            wanted = {"filter": f'userName eq "{holder.username}"'}
            found = _demand(http.get(f"{self._base}/Users", params=wanted))["Resources"][0]
            body = {
                "schemas": [PATCH_URN],
                "Operations": [{"op": "replace", "path": "active", "value": False}],
            }
            answer = _demand(http.patch(f"{self._base}/Users/{found['id']}", json=body))
        world.call("DELETE", f"/v1/scim-tokens/{self._token_id}", params={"reason": "conformance"})
        written = datetime.fromisoformat(str(answer["meta"]["lastModified"]).replace("Z", "+00:00"))
        return since(min(written.timestamp(), time.time()))

    def _http(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self._token}"}
        return httpx.Client(transport=verified_transport(self._ca_file), headers=headers, timeout=20.0)


def _demand(answer: httpx.Response) -> Mapping[str, Any]:
    if answer.status_code != 200:
        raise Unavailable(f"SCIM answered {answer.status_code}: {answer.text[:200]}")
    found: Mapping[str, Any] = answer.json()
    return found
