"""SCIM with very many people: making, listing, finding, changing groups. Prints; asserts nothing timed.

.venv/bin/python benchmarks/bench_scim.py [PEOPLE]
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "kit"))

import msgspec
from scim_kit import BULK, ENTERPRISE, USER, ScimHttp, ScimWorld
from sqlalchemy import insert

from limen.administrator.scim_people import values_of
from limen.administrator.scim_wire import encode
from limen.core.entities import Kind
from limen.store import identity_tables, tables
from limen.store.directory.people import person_row
from limen.store.scim import ScimResource

PEOPLE = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
BATCH = 100


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


def fill(world: ScimWorld) -> list[str]:
    """Put everybody into the tables, as the server would have: one by one it takes minutes."""
    documents = {f"{number:08x}": person(number) for number in range(PEOPLE)}
    with world.store.transaction("bench", "fill") as tx:
        of_people, of_rows, of_values = [], [], []
        for id_, document in documents.items():
            name, email = document["displayName"], document["userName"]
            fields = {
                "name": name,
                "email": email,
                "kind": Kind.EMPLOYEE,
                "attributes": {},
                "expires_at": None,
            }
            of_people.append(person_row(tx, email, source="scim:okta", **fields))
            known = ("okta", "User", email, email, document["externalId"], name)
            row = ScimResource(id_, *known, True, False, 1, tx.now, tx.now, encode(document))
            of_rows.append(msgspec.structs.asdict(row))
            of_values += [{"resource": id_, "name": key, "value": text} for key, text in values_of(document)]
        for table, listed in (
            (tables.person, of_people),
            (identity_tables.scim_resource, of_rows),
            (identity_tables.scim_value, of_values),
        ):
            tx.connection.execute(insert(table), listed)
    return list(documents)


def make(http: ScimHttp) -> None:
    """Measure the making of people."""
    operations = [
        {"method": "POST", "path": "/Users", "bulkId": str(n), "data": person(PEOPLE + n)}
        for n in range(BATCH)
    ]
    body = {"schemas": [BULK], "Operations": operations}
    timed(f"{BATCH} people made by one bulk request", lambda: http.call("POST", "/Bulk", body), times=1)
    timed("one person made", lambda: http.make(f"one{time.monotonic_ns()}"))


def main() -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        world = ScimWorld(Path(folder))
        ids = fill(world)
        http = world.http()
        make(http)
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
    timed(
        "PATCH of it: one member out, and in again", lambda: (http.patch(path, one), http.patch(path, more))
    )
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
