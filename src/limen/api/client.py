"""The way to a running system: control's admin API, on its Unix socket or, for a workload, by HTTPS."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from limen.core.errors import Conflict, Invalid, LimenError, NotFound, Refused, Unavailable
from limen.core.secret import Secret

TIMEOUT_S = 120.0
FAILURE = "failure"
"""The `type` of the line that ends a stream which cannot be finished."""
CLASS_OF: Mapping[int, type[LimenError]] = {
    401: Refused,
    403: Refused,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    503: Unavailable,
}
"""What a status means to callers: the way back from `limen.api.problems`."""


class AdminClient:
    """A client of the admin API. Methods return parsed JSON and raise `LimenError` for refusals."""

    def __init__(self, socket: Path) -> None:
        self._where = str(socket)
        self._remedy = "Start the system with `limen up`, or name its folder with --state DIR."
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://limen", timeout=TIMEOUT_S
        )

    @classmethod
    def remote(cls, origin: str, token: Secret[str], transport: httpx.BaseTransport) -> "AdminClient":
        """Return a client that calls the sign-in host (`https://auth.DOMAIN`) as a workload.

        Redirects are not followed: the token goes to this host alone. `transport` verifies certificates.
        """
        client = cls.__new__(cls)
        client._where = origin
        client._remedy = "Check the address, and give the CA with --ca-file if it is a private one."
        client._http = httpx.Client(
            transport=transport,
            base_url=f"{origin}/api",
            timeout=TIMEOUT_S,
            headers={"authorization": f"Bearer {token.reveal()}"},
            follow_redirects=False,
        )
        return client

    def get(self, path: str, **query: Any) -> Any:
        """Read; query values that are None are left out."""
        return self.send("GET", path, params=_given(query))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Create, or do."""
        return self.send("POST", path, json=body or {})

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Change some fields."""
        return self.send("PATCH", path, json=body)

    def put(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Set."""
        return self.send("PUT", path, json=body or {})

    def delete(self, path: str, **query: Any) -> Any:
        """Remove."""
        return self.send("DELETE", path, params=_given(query))

    def follow(
        self, path: str, *, method: str = "GET", body: Mapping[str, Any] | None = None
    ) -> Iterator[Any]:
        """Yield the objects of a stream of JSON lines, until it ends; one that fails on the way raises."""
        try:
            with self._http.stream(method, path, json=body, timeout=None) as response:
                if not response.is_success:
                    response.read()
                    raise _refusal(response)
                for line in response.iter_lines():
                    if line:
                        found = json.loads(line)
                        if found.get("type") == FAILURE:
                            raise LimenError(found["message"], remedy=found["remedy"], code=found["code"])
                        yield found
        except httpx.TransportError:
            raise self._gone() from None

    def send(self, method: str, path: str, **options: Any) -> Any:
        """Send one request; `options` are httpx's."""
        return self.send_for_headers(method, path, **options)[0]

    def send_for_headers(self, method: str, path: str, **options: Any) -> tuple[Any, Mapping[str, str]]:
        """Send one request; return the answer with its headers."""
        try:
            response = self._http.request(method, path, **options)
        except httpx.TimeoutException:
            raise Unavailable(
                f"Limen's control did not answer within {TIMEOUT_S:.0f} s.", remedy="Look at its log."
            ) from None
        except httpx.TransportError:
            raise self._gone() from None
        if response.is_success:
            return (response.json() if response.content else None), response.headers
        raise _refusal(response)

    def _gone(self) -> Unavailable:
        return Unavailable(
            f"Limen's control does not answer on {self._where}.",
            remedy=self._remedy,
            code="NOT_RUNNING",
        )


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in query.items() if value is not None}


def _refusal(response: httpx.Response) -> LimenError:
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    detail = problem.get("detail") or f"Limen's control answered {response.status_code}."
    error = CLASS_OF.get(response.status_code, LimenError)(
        str(detail), remedy=str(problem.get("remedy", "")), code=str(problem.get("code", "ERROR"))
    )
    error.findings = problem.get("findings", [])  # type: ignore[attr-defined]
    return error
