"""Rows and their formats: what is joined, what stays inside, what comes out of files and of the command."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from sink_rig import decision, event, outcome, some
from typer.testing import CliRunner

from limen.cli import audit_export
from limen.core.clock import FakeClock, SystemClock
from limen.core.errors import Invalid, LimenError
from limen.core.record import BundleRecord, DecisionRecord, EventRecord, InputsRecord, OutcomeRecord, Record
from limen.journal.export.formats import COLUMNS, flatten, render_csv, render_jsonl
from limen.journal.export.parquet import write_parquet
from limen.journal.export.pseudonyms import Pseudonyms, check_key, load_key, truncate
from limen.journal.export.reading import count_records, read_rows, start_cursor
from limen.journal.export.rows import Joiner, Row, Wanted
from limen.journal.fields import FieldClass, field_class
from limen.journal.follow import Follower, Stored
from limen.journal.writer import Journal, JournalOptions

AT = 1_800_000_000.0
HIDE = Pseudonyms(check_key(bytes(range(32)), "the test's key"))


def stored(records: Sequence[Record]) -> list[Stored]:
    return [Stored("gateway-a", "00000001-0a0b0c0d", place, record) for place, record in enumerate(records)]


def rows(*records: Record, wanted: Wanted | None = None) -> list[Row]:
    return Joiner(wanted or Wanted()).rows(stored(records))


def parquet_rows(file: Path) -> list[dict[str, Any]]:
    with duckdb.connect() as database:
        found = database.execute("SELECT * FROM read_parquet($1)", [str(file)])
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def write(root: Path, records: Sequence[Record], **options: Any) -> None:
    with Journal.open(root, "gateway-a", SystemClock(), options=JournalOptions(**options)) as journal:
        for record in records:
            journal.append(record)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=20), st.integers(1, 7))
def test_x4_joined_or_told(shape: list[tuple[bool, int]], size: int) -> None:
    """Each outcome leaves once, however batches cut between it and its decision."""
    made: list[Record] = []
    later: list[tuple[int, Record]] = []
    for has, delay in shape:
        one = decision(AT + len(made))
        made.append(one)
        if has:
            later.append((len(made) + delay, outcome(one)))
        for due, record in list(later):
            if due <= len(made):
                made.append(record)
                later.remove((due, record))
    made += [record for _, record in later]
    whole = stored(made)
    batches = [whole[start : start + size] for start in range(0, len(whole), size)]
    joiner = Joiner(Wanted())
    found: list[Row] = []
    for place, batch in enumerate(batches):
        found += joiner.rows(batch, batches[place + 1] if place + 1 < len(batches) else ())
    told = [row.fields["id"] for row in found if "status" in row.fields]
    assert sorted(told) == sorted(one.id for one in made if isinstance(one, OutcomeRecord))
    decided = [row.fields["id"] for row in found if row.fields["type"] == "decision"]
    assert decided == [one.id for one in made if isinstance(one, DecisionRecord)]


def test_x5_classed() -> None:
    """No secret field leaves, nor inputs, bundles, or a member of data that nobody looked at."""
    found = rows(
        InputsRecord("i", {"department": "s3cret"}),
        BundleRecord("b", {"limen.yaml": "s3cret"}),
        decision(AT),
        event(
            AT,
            1,
            data={"aal": 2, "before": {"department": "s3cret"}, "note": "s3cret", "why": {"x": "s3cret"}},
        ),
        event(
            AT, 2, kind="grant.added", data={"after": {"to": "user:ada", "on": "wiki", "reason": "s3cret"}}
        ),
    )
    assert "s3cret" not in b"".join(map(render_jsonl, found)).decode()
    assert [row.fields["type"] for row in found] == ["decision", "event", "event"]
    assert found[2].fields["data"] == {"to": "user:ada", "on": "wiki"}
    for row in found:
        for name in set(row.fields) - {"type", "data"}:
            assert field_class(str(row.fields["type"]), name) is not FieldClass.SECRET


@given(st.text(min_size=3, max_size=10, alphabet="qxzjkvw"), st.ip_addresses())
def test_x3_nameless(name: str, address: Any) -> None:
    """Wherever a person stands in a record, the name is gone, and the same pseudonym stands there."""
    ip = str(address)
    found = rows(
        decision(AT, subject=f'User::"{name}"', path=f"/people/{name}", session=f"ses-{name}", ip=ip),
        *(
            event(AT, number, kind=kind, actor=name, target=name, reason=f"{name} asked", ip=ip, data=data)
            for number, (kind, data) in enumerate(
                [
                    ("sign_in.succeeded", {"session": f"ses-{name}"}),
                    ("session.ended", {"person": name}),
                    ("grant.expired", {"principal": f'User::"{name}"'}),
                    ("grant.added", {"after": {"to": f"user:{name}", "on": "wiki"}}),
                    ("connect.signed_in", {"client": f"{name}'s laptop"}),
                    ("new.kind", {"owner": name, "ip": ip, "name": name}),
                ]
            )
        ),
    )  # fmt: skip
    things = {"grant.expired", "grant.added"}  # their targets are ids of grants: not names, in real records
    shown = [HIDE.apply(row.fields) for row in found]
    for fields in shown:
        if fields.get("kind") in things:
            fields = {key: value for key, value in fields.items() if key != "target"}
        text = json.dumps(fields)
        assert name not in text and (ip not in text or truncate(ip) == ip)
    assert shown[0]["subject"] == f'User::"{shown[1]["actor"]}"' == f'User::"{shown[1]["target"]}"'
    assert shown[2]["data"]["person"] == shown[1]["actor"] == shown[4]["data"]["to"].removeprefix("user:")
    assert shown[0]["session"] == shown[1]["data"]["session"]


def test_pseudonyms_depend_on_the_key_and_leave_limen_its_names() -> None:
    other = Pseudonyms(check_key(b"\xff" * 32, "another"))
    assert HIDE.person("ada") == HIDE.person('User::"ada"') != other.person("ada")
    assert HIDE.person("limen") == "limen"
    assert HIDE.ref('Workload::"ci"') == 'Workload::"ci"'
    assert (truncate("203.0.113.9"), truncate("::ffff:203.0.113.9")) == ("203.0.113.0", "203.0.113.0")
    assert (truncate("2001:db8:1:2::3"), truncate("fe80::1%eth0"), truncate("ada")) == (
        "2001:db8:1::",
        "fe80::",
        "",
    )


def test_a_key_file_that_is_short_or_gone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k" * 31)
    for file in (tmp_path / "key", tmp_path / "none"):
        with pytest.raises(Invalid, match="--pseudonyms") as refused:
            load_key(file)
        assert "urandom" in refused.value.remedy


def test_rows_are_filtered_by_class_time_and_person() -> None:
    records = [
        decision(AT),
        event(AT + 1, 1),
        decision(AT + 2, subject='User::"bob"'),
        event(AT + 3, 2, actor="bob"),
    ]
    assert len(rows(*records, wanted=Wanted(classes=("events",)))) == 2
    assert len(rows(*records, wanted=Wanted(since=AT + 1, until=AT + 3))) == 2
    assert [r.position for r in rows(*records, wanted=Wanted(subject="ada"))] == [0, 1, 3]
    assert [r.position for r in rows(*records, wanted=Wanted(subject="bob"))] == [2, 3]


def test_reading_begins_at_the_first_segment_that_can_hold_what_is_asked_for(tmp_path: Path) -> None:
    clock = FakeClock(AT)
    options = JournalOptions(segment_bytes=4_000, reserve_bytes=0)
    with Journal.open(tmp_path, "gateway-a", clock, options=options) as journal:
        for number in range(60):
            clock.advance(1)
            journal.append(decision(AT + number))
    asked = start_cursor(tmp_path, "gateway-a", AT + 40)
    assert 0 < asked["gateway-a"][1] <= 40
    found = list(read_rows(tmp_path, Wanted(since=AT + 40)))
    assert [row.at for row in found] == [AT + number for number in range(40, 60)]
    assert count_records(tmp_path, None) == 60 > count_records(tmp_path, AT + 40) >= 20


def test_csv_and_parquet_have_the_same_columns_and_rows(tmp_path: Path) -> None:
    found = rows(*some(5), event(AT, 9, data={"cause": "denied", "bytes_in": 7}))
    lines = list(csv.DictReader(io.StringIO(b"".join(render_csv(found)).decode())))
    write_parquet(found, tmp_path / "it's.parquet")
    table = parquet_rows(tmp_path / "it's.parquet")
    assert list(lines[0]) == list(COLUMNS) == list(table[0])
    assert [line["uid"] for line in lines] == [line["uid"] for line in table] == [row.uid for row in found]
    assert (table[0]["status"], lines[0]["status"]) == (200, "200")
    assert table[0]["at"].year == 2027
    assert (
        json.loads(table[-1]["data"]) == json.loads(lines[-1]["data"]) == {"cause": "denied", "bytes_in": 7}
    )


def test_numbers_that_no_column_holds_are_left_out(tmp_path: Path) -> None:
    row = Row(
        "n", "b", 0, {"type": "decision", "at": 1e300, "took_us": 2**70, "age_s": True, "status": "200"}
    )
    assert {flatten(row)[name] for name in ("at", "took_us", "age_s", "status")} == {None}
    write_parquet([row], tmp_path / "x.parquet")


# --- the command -----------------------------------------------------------------------------------

app = typer.Typer()
audit_export.register(app)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state" / "keys").mkdir(parents=True)
    write(tmp_path / "state" / "journal", list(some(30)), reserve_bytes=0)
    return tmp_path / "state"


def limen(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout_bytes.decode()


@pytest.mark.parametrize("kind", ["ocsf", "jsonl", "csv"])
def test_the_command_writes_a_record_a_line(state: Path, tmp_path: Path, kind: str) -> None:
    text = limen("export", "--format", kind, "--state", state)
    limen("export", "--format", kind, "--state", state, "--out", tmp_path / "out")
    assert (tmp_path / "out").read_bytes().decode() == text
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
    assert len(text.splitlines()) == 40 + (kind == "csv")


def test_the_command_hides_people_and_takes_parquet(state: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    hidden = limen("export", "--format", "jsonl", "--state", state, "--pseudonyms", tmp_path / "key")
    assert '"ada"' not in hidden and "203.0.113.9" not in hidden
    limen(
        "export",
        "--format",
        "parquet",
        "--state",
        state,
        "--out",
        tmp_path / "out.parquet",
        "--classes",
        "events",
    )
    assert len(parquet_rows(tmp_path / "out.parquet")) == 10


@pytest.mark.parametrize(
    "wrong",
    [("--format", "xml"), ("--format", "parquet"), ("--format", "csv", "--classes", "inputs"),
     ("--format", "csv", "--since", "soon"), ("--format", "csv", "--classes", ",")],
)  # fmt: skip
def test_what_the_command_cannot_do_is_refused_with_a_remedy(state: Path, wrong: tuple[str, ...]) -> None:
    with pytest.raises(LimenError) as refused:
        limen("export", *wrong, "--state", state)
    assert refused.value.remedy


def test_since_and_until_are_durations_or_dates(state: Path) -> None:
    assert (
        len(limen("export", "--format", "jsonl", "--state", state, "--since", "2027-01-16").splitlines()) == 0
    )
    late = limen("export", "--format", "jsonl", "--state", state, "--since", "2027-01-15T08:00:20+00:00")
    assert len(late.splitlines()) == 13
    assert limen("export", "--format", "jsonl", "--state", state, "--until", "7d") == ""


def test_every_record_of_the_journal_is_exported_once(state: Path) -> None:
    uids = [
        json.loads(line)["uid"]
        for line in limen("export", "--format", "jsonl", "--state", state).splitlines()
    ]
    there = [
        f"{node}/{boot}/{position}"
        for node, boot, position, record in Follower(state / "journal").poll()
        if isinstance(record, DecisionRecord | EventRecord)
    ]
    assert uids == there
