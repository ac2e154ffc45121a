"""S1 to S4: what is sealed opens again, shows nothing without the key, and says so once the key is gone."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limen.core.errors import Invalid
from limen.core.record import ERASED, DecisionRecord, EventRecord, InputsRecord, OutcomeRecord, Record
from limen.journal.fields import FIELD_CLASSES, SEALED, FieldClass
from limen.journal.keys import Keys
from limen.journal.owners import ABOUT
from limen.journal.records import decode_payload, encode_record
from limen.journal.sealed import ERASED_VALUE, erased_name

MANY = settings(max_examples=80, deadline=None)
# Few people: each new one costs a key, and a key costs a wait for the disk.
usernames = st.sampled_from(["ada", "grace.h", "alan@bletchley.example", "0"])
people = st.sampled_from(["ADA-0123456789", "GRACE-123456789"])
text = st.text(max_size=12).filter(lambda value: value.isprintable())
# Long enough that they do not stand in the bytes by chance, and one form in JSON.
marks = st.from_regex(r"[A-Z]{3}-[0-9]{9}", fullmatch=True)
data = st.dictionaries(
    text | st.sampled_from(["person", "user", "after"]), st.integers() | marks | usernames, max_size=3
)


def refs(kinds: tuple[str, ...] = ("User", "Workload", "Group")) -> st.SearchStrategy[list[str]]:
    return st.tuples(st.sampled_from(kinds), usernames).map(list)


def closures(roots: st.SearchStrategy[list[str]]) -> st.SearchStrategy[dict[str, Any]]:
    attrs = st.dictionaries(st.sampled_from(["name", "email"]), marks, max_size=2)
    owner = st.fixed_dictionaries(
        {"__entity": st.fixed_dictionaries({"type": st.just("User"), "id": usernames})}
    )
    entity = st.fixed_dictionaries({"ref": refs(), "attrs": attrs | st.fixed_dictionaries({"owner": owner})})
    return st.fixed_dictionaries({"root": roots, "entities": st.lists(entity, max_size=3)})


facts = st.fixed_dictionaries(
    {
        "subject": st.none() | closures(refs()),
        "resource": closures(refs(("App",))),
        "device": st.none() | st.fixed_dictionaries({"closure": closures(refs(("Device",)))}),
        "risk": st.integers(0, 100),
    }
)
decisions = st.builds(
    DecisionRecord,
    id=marks,
    at=st.floats(1e9, 2e9),
    node=st.just("gw"),
    point=st.just("gateway"),
    verdict=st.sampled_from(["allow", "deny"]),
    code=text,
    bundle=text,
    inputs=marks,
    action=st.just("read"),
    resource=text,
    subject=st.none() | usernames.map('User::"{}"'.format) | usernames.map('Workload::"{}"'.format) | text,
    session=st.none() | text,
    path=text,
    ip=text,
)
events = st.builds(
    EventRecord,
    id=marks,
    at=st.floats(1e9, 2e9),
    node=st.just("gw"),
    kind=st.sampled_from(sorted(ABOUT)).map("{}.changed".format) | text,
    actor=usernames | st.sampled_from(["limen", "gateway:g1", 'User::"ada"', ""]) | text,
    target=usernames | text | st.just('User::"ada"'),
    reason=text,
    ip=text,
    data=data,
)
inputs = st.builds(InputsRecord, id=marks, facts=facts)
records: st.SearchStrategy[Record] = decisions | events | inputs


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    with TemporaryDirectory() as folder:
        found = Keys.open(Path(folder))
        yield found
        found.close()


@MANY
@given(record=records)
def test_s1_opened(keys: Keys, record: Record) -> None:
    again = decode_payload(encode_record(record, keys), 0, keys)
    assert again == msgspec.convert(msgspec.to_builtins(record), type(record))


def about(key: str) -> DecisionRecord:
    return DecisionRecord(
        f"{key}-id", 1.0, "gw", "gateway", "allow", "PERMITTED", "b", "in", "read", "App", f'User::"{key}"',
        session=f"{key}-session", path=f"/{key}-path", ip=f"{key}-ip",
    )  # fmt: skip


@MANY
@given(who=people, event=events, about_her=inputs)
def test_s2_sealed(keys: Keys, who: str, event: EventRecord, about_her: InputsRecord) -> None:
    stored = encode_record(about(who), keys).decode()
    for name in SEALED["decision"] - {"subject"}:
        assert f"{who}-{name}" not in stored
    assert "User::" not in stored
    told = msgspec.structs.replace(
        event, id="e", kind="session.ended", actor=who, data={"person": who, "x": who}
    )
    assert who not in encode_record(told, keys).decode()
    subject = {"root": ["User", who], "entities": [{"ref": ["User", who], "attrs": {"name": who}}]}
    hers = msgspec.structs.replace(about_her, id="i", facts={**about_her.facts, "subject": subject})
    assert who not in encode_record(hers, keys).decode()


@settings(max_examples=5, deadline=None)
@given(other=marks)
def test_s2_attributes_of_the_resources_owner_are_sealed_under_the_owners_key(keys: Keys, other: str) -> None:
    owned = {"root": ["App", "a"], "entities": [{"ref": ["User", "o" + other], "attrs": {"email": other}}]}
    record = InputsRecord("i", {"subject": {"root": ["User", "ada"], "entities": []}, "resource": owned})
    payload = encode_record(record, keys)
    assert decode_payload(payload, 0, keys) == record
    keys.erase(f'User::"o{other}"')
    left = decode_payload(payload, 0, keys)
    assert isinstance(left, InputsRecord)
    assert left.facts[ERASED] is True
    assert other not in json.dumps(left.facts["resource"]["entities"][0]["attrs"])
    assert left.facts["subject"] == record.facts["subject"]


@MANY
@given(record=records)
def test_s3_equal(keys: Keys, record: Record) -> None:
    copy = msgspec.convert(msgspec.to_builtins(record), type(record))
    assert encode_record(record, keys) == encode_record(copy, keys)


@MANY
@given(record=decisions | events)
def test_s4_erased(keys: Keys, record: DecisionRecord | EventRecord) -> None:
    stored = encode_record(record, keys)
    erased = decode_payload(stored, 0, None)
    gone = msgspec.json.decode(stored)
    hidden = gone.get("key"), gone.get("actor_key")
    for field, kind in FIELD_CLASSES[record.__struct_config__.tag].items():  # type: ignore[index]
        if kind is FieldClass.PUBLIC and field not in ("key", "actor_key"):
            assert getattr(erased, field) == getattr(record, field)
    if not any(hidden):
        assert erased == record
    elif isinstance(record, DecisionRecord) and isinstance(erased, DecisionRecord):
        assert erased.subject == f'User::"{erased_name(erased.key)}"'
        assert erased.path == (ERASED if record.path else "")
        assert erased.session == (ERASED if record.session else record.session)
        assert erased.inputs == record.inputs
    elif isinstance(record, EventRecord) and isinstance(erased, EventRecord):
        assert erased.data == (ERASED_VALUE if record.data else {})
        assert erased.reason == (ERASED if record.reason else "")


def test_a_changed_sealed_value_is_no_record(keys: Keys) -> None:
    stored = encode_record(about("ada"), keys)
    sealed = msgspec.json.decode(stored)["path"]
    forged = stored.replace(sealed.encode(), sealed[::-1].encode())
    with pytest.raises(Invalid) as refused:
        decode_payload(forged, 7, keys)
    assert refused.value.code == "RECORD_INVALID"
    assert "Record 7" in refused.value.message


def test_outcomes_and_records_about_nobody_stay_as_they_are(keys: Keys) -> None:
    for record in (
        OutcomeRecord("d", 1.0, 200, 3),
        EventRecord("e", 1.0, "control", "journal.loss", "journal", target="x.seg", data={"bytes": 3}),
        EventRecord("e", 1.0, "control", "gateway.joined", "gateway:g1", target="g1", ip="192.0.2.1"),
    ):
        assert encode_record(record, keys) == encode_record(record)


def test_every_sealed_field_is_one_that_is_not_public() -> None:
    for tag, fields in SEALED.items():
        for field in fields:
            assert FIELD_CLASSES[tag][field] is not FieldClass.PUBLIC
        left = {f for f, kind in FIELD_CLASSES[tag].items() if kind is not FieldClass.PUBLIC} - fields
        assert left <= {"inputs", "id"}  # hashes under the journal's salt
