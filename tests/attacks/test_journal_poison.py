"""A gateway that was taken over writes records meant to stop, to bury or to mislead whoever reads them."""

import json
import math
import secrets
import zlib
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from replay_world import Person, Traffic, Visit
from ship_world import NODE, decision, open_journal

from limen.administrator.recording import Recorder
from limen.administrator.ship_checks import Alarm, verify_record
from limen.core.decision import AccessRequest, Code, Decision, Verdict
from limen.core.entities import Closure
from limen.core.errors import Conflict, Invalid
from limen.core.ids import DecisionId, EntityRef, new_decision_id
from limen.core.record import BundleRecord, DecisionRecord, EventRecord, InputsRecord, OutcomeRecord, Record
from limen.engine.bundle import bundle_id, parse_bundle
from limen.engine.replay_inputs import digest_of
from limen.engine.replay_run import Replay
from limen.journal.follow import Follower
from limen.journal.frame import PAYLOAD_BYTES_MAX, Kind
from limen.journal.keys import Keys
from limen.journal.query import Query
from limen.journal.reader import JournalReader
from limen.journal.records import KIND_OF, decode_payload, encode_record
from limen.journal.search import search

YAML = """
domain: limen.test
apps:
  wiki: {upstream: "http://127.0.0.1:1", allow: [group:staff]}
"""
KEY, OWNER = "0" * 16, 'User::"eve"'
DEEP = b"[" * 50_000 + b"]" * 50_000


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """The keys of control, with one that the attacker shipped and knows."""
    found = Keys.open(tmp_path)
    found.add(KEY, OWNER, secrets.token_bytes(64))
    return found


def sealed(keys: Keys, field: str, content: bytes) -> dict[str, Any]:
    key = keys.find(KEY)
    assert key is not None
    return {"__sealed": key.seal(field, content)}


def poisons(keys: Keys) -> list[Record]:
    key = keys.find(KEY)
    assert key is not None
    facts = [b"[1]", b"7", DEEP, b'{"subject":' + DEEP + b"}"]
    inputs = [InputsRecord("i", sealed(keys, "facts", zlib.compress(one)), KEY) for one in facts]
    inputs.append(InputsRecord("i", {"__sealed": 5}, KEY))
    attrs: list[Any] = [{"__sealed": "x", "__key": [1]}, {"__sealed": 5, "__key": KEY}]
    inputs += [InputsRecord("i", {"subject": {"entities": [{"attrs": one}]}}) for one in attrs]
    events = [
        EventRecord("evt_1", 1.0, NODE, "x.y", "@", data=data, actor_key=KEY)
        for data in (sealed(keys, "data", b"[1]"), sealed(keys, "data", DEEP), {"__sealed": 1}, {"a": 1})
    ]
    return [*inputs, *events, msgspec.structs.replace(good(), key=KEY, ip=key.seal("ip", b"\xff\xfe"))]


def good(**changes: Any) -> DecisionRecord:
    made = msgspec.structs.replace(decision(0), id=new_decision_id(1_800_000_000.0), at=1_800_000_000.0)
    return msgspec.structs.replace(made, **changes)


def test_what_no_key_opens_to_a_record_is_passed_over_by_every_reader(tmp_path: Path, keys: Keys) -> None:
    before, after = good(), good()
    with open_journal(tmp_path, f"{NODE}-a") as journal:
        journal.append(before)
        for poison in poisons(keys):
            with pytest.raises(Invalid):
                decode_payload(encode_record(poison), 0, keys)
            journal.append(poison)
        journal.append(after)
    ids = {before.id, after.id}
    assert {stored.record.id for stored in Follower(tmp_path).poll()} == ids
    reader = JournalReader(tmp_path)
    assert {record.id for record in reader.read()} == ids
    assert reader.unreadable == len(poisons(keys))
    assert list(reader.events()) == []
    assert len(search(tmp_path, Query(since=0.0))) == 2
    assert reader.find(after.id).decision.id == after.id


def test_few_bytes_do_not_become_gigabytes(keys: Keys) -> None:
    bomb = zlib.compressobj(9)
    packed = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(PAYLOAD_BYTES_MAX // (1 << 20) + 1))
    facts = sealed(keys, "facts", packed + bomb.flush())
    payload = encode_record(InputsRecord("i", facts, KEY))
    assert len(payload) < 100_000
    with pytest.raises(Invalid, match="larger than any facts"):
        decode_payload(payload, 0, keys)


@pytest.mark.parametrize(
    "record",
    [
        good(at=1e300),
        good(at=-1.0),
        good(took_us=2**63),
        OutcomeRecord("x", 1.0, 200, 10**30),
        OutcomeRecord("x", 1.0, 200, 5, bytes_in=-1),
        EventRecord("evt_1", 1e15, NODE, "x.y", "limen"),
    ],
)
def test_numbers_that_no_calendar_or_collector_can_take_do_not_come_in(record: Record) -> None:
    with pytest.raises(Alarm):
        verify_record(KIND_OF[type(record)], 0, encode_record(record), {NODE})


def test_a_record_nested_without_end_does_not_come_in() -> None:
    raw = b'{"type":"event","id":"e","at":1.0,"node":"%b","kind":"x","actor":"a","data":{"a":%b}}'
    with pytest.raises(Alarm):
        verify_record(Kind.EVENT, 0, raw % (NODE.encode(), DEEP), {NODE})


def test_a_bundle_under_the_name_of_another_does_not_come_in() -> None:
    files = {"limen.yaml": "domain: x.test\n"}
    verify_record(Kind.BUNDLE, 0, encode_record(BundleRecord(bundle_id(files), files)), {NODE})
    forged = BundleRecord(bundle_id(files), {"limen.yaml": "domain: evil.test\n"})
    with pytest.raises(Alarm) as refused:
        verify_record(Kind.BUNDLE, 0, encode_record(forged), {NODE})
    assert refused.value.code == "JOURNAL_FORGED"


@pytest.mark.parametrize("age_s", [math.inf, math.nan, 1e300])
def test_facts_that_nobody_ever_confirmed_leave_a_record_that_can_be_read(age_s: float) -> None:
    """JSON has no infinity: none could read such a record, and control took an honest gateway for a liar."""
    request = AccessRequest(DecisionId("0" * 32), 1.0, None, "read", EntityRef("App", "wiki"))
    recorder = Recorder(None, NODE, lambda *_: {}, point="gateway")  # type: ignore[arg-type]
    stale = Decision(Verdict.DENY, Code.STATE_STALE)
    record = recorder.entry(request, stale, bundle=None, took_us=1, age_s=age_s).record
    payload = encode_record(record)
    assert json.loads(payload)["age_s"] > 1e6
    verify_record(Kind.DECISION, 0, payload, {NODE})
    assert decode_payload(payload, 0) == record


def test_a_decision_of_another_nodes_id_shadows_nobody(tmp_path: Path) -> None:
    true = good(node="honest", subject=None, verdict="deny")
    for node, record in (
        ("honest", true),
        ("liar", msgspec.structs.replace(true, node="liar", verdict="allow")),
    ):
        with open_journal(tmp_path, f"{node}-a") as journal:
            journal.append(record)
    with pytest.raises(Conflict) as refused:
        JournalReader(tmp_path).find(true.id)
    assert "honest and liar" in refused.value.message


JUNK: tuple[Any, ...] = (
    None,
    5,
    "x",
    [],
    {},
    [1],
    {"a": 1},
    True,
    -1,
    1e308,
    2**70,
    {"__entity": 5},
    "9" * 400,
)


def spoilt(facts: Any, random: Random) -> Any:
    """Return facts with something in them replaced, whose digests are right again."""
    made = msgspec.json.decode(msgspec.json.encode(facts))
    part: Any = made
    while isinstance(part, dict | list) and part:
        key = random.choice(list(part) if isinstance(part, dict) else range(len(part)))
        if random.random() < 0.3 or not isinstance(part[key], dict | list):
            part[key] = random.choice(JUNK)
            break
        part = part[key]
    for name in ("subject", "resource"):
        with suppress(Exception):  # what is spoilt may have none
            closure = msgspec.convert(made[name], Closure)
            made[name]["digest"] = digest_of(closure)
    return made


def test_no_facts_of_whatever_form_end_a_replay() -> None:
    files = {"limen.yaml": YAML}
    traffic = Traffic(files, (Person("ada", ("staff",)), Person("eve", ())))
    traffic.drive([Visit("ada", "wiki"), Visit("eve", "wiki")])
    records, random = traffic.records(), Random(4)
    for _ in range(100):
        for candidate in (None, parse_bundle(files)):
            replay = Replay(candidate)
            for record in records:
                spoil = isinstance(record, InputsRecord)
                replay.feed(InputsRecord(record.id, spoilt(record.facts, random)) if spoil else record)
            assert replay.report().decisions == 2


def test_nobodys_facts_stand_for_somebody_elses_by_the_name_of_their_digest() -> None:
    """Else a gateway hides from `limen policy plan` and the shadow whom a candidate shuts out."""
    files = {"limen.yaml": YAML}
    traffic = Traffic(files, (Person("ada", ("staff",)), Person("eve", ())))
    traffic.drive([Visit("ada", "wiki"), Visit("eve", "wiki")])
    records = traffic.records()
    ada, eve = (record.facts for record in records if isinstance(record, InputsRecord))
    forged = {**eve, "subject": {**ada["subject"], "digest": eve["subject"]["digest"]}}
    replay = Replay(parse_bundle(files))
    for record in (InputsRecord("forged", forged), *records):
        replay.feed(record)
    report = replay.report()
    assert (report.same, report.mismatches) == (2, ())
