"""SCIM with very many people: making, listing, finding, changing groups. Prints; asserts nothing timed.

    .venv/bin/python benchmarks/scim.py [PEOPLE]
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "kit"))

from scim_kit import BULK, ENTERPRISE, USER, ScimHttp, ScimWorld

PEOPLE = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
BATCH = 500


def person(number: int) -> dict[str, Any]:
    """Return a document as providers send them."""
    return {
        "schemas": [USER, ENTERPRISE],
        "externalId": f"00u{number:08d}",
        "userName": f"person{number}@corp.example",
        "name": {"givenName": "Ada", "familyName": f"Number {number}"},
        "displayName": f"Ada Number {number}",
        "active": True,
        "emails": [{"value": f"person{number}@corp.example", "type": "work", "primary": True}],
        ENTERPRISE: {"department": f"Department {number % 40}", "employeeNumber": str(number)},
    }


def timed(what: str, work: Callable[[], Any], *, times: int = 3) -> Any:
    """Print how long something takes: the median of a few."""
    took = []
    found = None
    for _ in range(times):
        began = time.perf_counter()
        found = work()
        took.append(time.perf_counter() - began)
    print(f"{what:<62}{sorted(took)[len(took) // 2] * 1000:>10.1f} ms")
    return found


def fill(http: ScimHttp) -> list[str]:
    """Make everybody by bulk requests; return their ids."""
    ids: list[str] = []
    for start in range(0, PEOPLE, BATCH):
        operations = [
            {"method": "POST", "path": "/Users", "bulkId": str(n), "data": person(n)}
            for n in range(start, min(start + BATCH, PEOPLE))
        ]
        answer = http.call("POST", "/Bulk", {"schemas": [BULK], "Operations": operations})
        assert answer.status_code == 200, answer.text
        ids += [one["location"].rpartition("/")[2] for one in answer.json()["Operations"]]
    return ids


def main() -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        http = ScimWorld(Path(folder)).http()
        began = time.perf_counter()
        ids = fill(http)
        took = time.perf_counter() - began
        print(f"{PEOPLE} people made by bulk in {took:.1f} s: {took / PEOPLE * 1000:.2f} ms each")
        people(http, ids)
        groups(http, ids)


def people(http: ScimHttp, ids: list[str]) -> None:
    """Measure what is asked of people."""
    last = PEOPLE - 1
    timed("a page of 100 from the beginning", lambda: http.find("/Users", count=100))
    timed("a page of 100 at the end", lambda: http.find("/Users", count=100, startIndex=PEOPLE - 99))
    timed("a page of 100 of one attribute", lambda: http.find("/Users", count=100, attributes="userName"))
    timed("a page of 100 by cursor", lambda: http.find("/Users", count=100, cursor=""))
    timed("one person", lambda: http.call("GET", f"/Users/{ids[last]}"))
    for text in (
        f'userName eq "PERSON{last}@corp.example"',
        f'externalId eq "00u{last:08d}"',
        f'emails[type eq "work"].value eq "person{last}@corp.example"',
        f'displayName eq "Ada Number {last}" and active eq true',
        f'{ENTERPRISE}:department eq "Department 7" and active eq true',
        f'userName sw "person{last}"',
        'meta.lastModified gt "2020-01-01T00:00:00Z"',
        'not (emails pr) or title co "x"',
    ):
        timed(f"filter {text[:54]}", lambda text=text: http.find("/Users", filter=text, count=100))
    timed("a page of 100 by name", lambda: http.find("/Users", sortBy="name.familyName", count=100))
    off = {"op": "replace", "path": "active", "value": False}
    timed("PATCH active", lambda: http.patch(f"/Users/{ids[0]}", off), times=1)
    timed("PATCH title", lambda: http.patch(f"/Users/{ids[1]}", {"op": "add", "path": "title", "value": "x"}))


def groups(http: ScimHttp, ids: list[str]) -> None:
    """Measure a group of everybody."""
    group = timed(f"a group of {PEOPLE} made", lambda: http.group("everybody", *ids), times=1)
    path = f"/Groups/{group['id']}"
    one = {"op": "remove", "path": f'members[value eq "{ids[5]}"]'}
    more = {"op": "add", "path": "members", "value": [{"value": ids[5]}]}
    timed("PATCH of it: one member out, and in again", lambda: (http.patch(path, one), http.patch(path, more)))
    timed("the group with its members", lambda: http.call("GET", path))
    timed("the group without", lambda: http.call("GET", path, params={"excludedAttributes": "members"}))
    timed("a page of 100 people who are in it", lambda: http.find("/Users", count=100))
    body = http.call("GET", path).json()
    body["members"] = body["members"][1:]
    timed("PUT of it, one member fewer", lambda: http.call("PUT", path, body), times=1)
    timed("the groups of one member", lambda: http.find("/Groups", filter=f'members eq "{ids[7]}"'))
    timed("the group deleted", lambda: http.call("DELETE", path), times=1)


if __name__ == "__main__":
    main()
