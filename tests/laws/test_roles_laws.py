"""Law R3 of `administrator.touched`: somebody administers, whatever is done in whatever order."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from people_rig import PeopleRig

from limen.core.entities import Status
from limen.core.errors import LimenError
from limen.store import directory

PEOPLE = ("ann", "bob", "cas")
GROUPS = ("limen-admins", "it", "chess")
Directory = dict[str, Any]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeopleRig]:
    made = PeopleRig(tmp_path_factory.mktemp("laws"))
    for group in GROUPS[1:]:
        made.host.post("/v1/groups", json={"id": group})
    for name in PEOPLE:
        made.add(name)
    made.host.put("/v1/groups/limen-admins/members/ann", json={})
    assert made.host.delete("/v1/groups/limen-admins/members/root").status_code == 204
    yield made
    made.control.close()


def administrators(tx: Any) -> set[str]:
    """Return who administers, found by reading the rows and not as the code under test does."""
    parents = {group.id: group.parents for group in directory.list_groups(tx.connection)}

    def reaches(group: str, seen: frozenset[str] = frozenset()) -> bool:
        return group == "limen-admins" or any(
            reaches(up, seen | {group}) for up in parents.get(group, ()) if up not in seen
        )

    people = directory.list_people(tx.connection, limit=1000)
    return {
        one.id
        for one in people
        if one.status is Status.ACTIVE
        and not one.quarantined
        and one.expires_at is None
        and any(reaches(group) for group in one.groups)
    }


people, groups = st.sampled_from(PEOPLE), st.sampled_from(GROUPS)
Step = Callable[[Any], object]
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        lambda who, to: lambda tx: directory.update_person(tx, who, status=to),
        people,
        st.sampled_from((Status.ACTIVE, Status.SUSPENDED)),
    ),
    st.builds(
        lambda who, to: lambda tx: directory.update_person(tx, who, quarantined=to), people, st.booleans()
    ),
    st.builds(
        lambda who, to: lambda tx: directory.update_person(tx, who, expires_at=to),
        people,
        st.sampled_from((None, 4e9)),
    ),
    st.builds(lambda who, to: lambda tx: directory.add_member(tx, to, who), people, groups),
    st.builds(lambda who, to: lambda tx: directory.remove_member(tx, to, who), people, groups),
    st.builds(lambda one, to: lambda tx: directory.nest(tx, one, to), groups, groups),
    st.builds(lambda one, to: lambda tx: directory.unnest(tx, one, to), groups, groups),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.lists(STEPS, min_size=1, max_size=3), min_size=1, max_size=8))
def test_r3_somebody_administers(rig: PeopleRig, steps: list[list[Step]]) -> None:
    store = rig.control._store
    for changes in steps:
        would: set[str] = set()
        try:
            with store.transaction("test", "law") as tx:
                assert administrators(tx)
                for change in changes:
                    change(tx)
                would = administrators(tx)
        except LimenError as error:
            if error.code == "LAST_ADMIN":
                assert not would, "refused, though somebody would have been left"
            continue
        assert would, "committed, and nobody is left"
