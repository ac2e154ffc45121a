"""Sinks against collectors on loopback: what they send, what they do when nobody takes it."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sink_collector import HttpCollector, SyslogCollector
from sink_rig import FAST, decision, event, make_certificates, no_secret, outcome, some, wait_for

from limen.core.catalogue import ExportConfig
from limen.core.clock import SystemClock
from limen.core.record import Record
from limen.core.secret import Secret
from limen.journal.writer import Journal
from limen.services.sinks.cursor import CursorFile, Kept
from limen.services.sinks.pump import CHUNK, REFUSED_IN_A_ROW_MAX
from limen.services.sinks.sinks import Sinks


class World:
    """A journal, its sinks in a thread, and what collectors got."""

    def __init__(self, root: Path) -> None:
        self.root, self.state, self.certificates = root / "journal", root / "state", root / "certificates"
        self.ca = make_certificates(self.certificates)
        self.journal = Journal.open(self.root, "gateway-a", SystemClock())
        self.configs: dict[str, ExportConfig] = {}
        self.secrets: dict[str, str] = {}
        self.got: list[dict[str, Any]] = []
        self.registry = CollectorRegistry()
        self.sinks = Sinks(
            self.root, self.state, lambda: dict(self.configs), self.secret, self.registry, pace=FAST
        )

    def secret(self, name: str) -> Secret[str]:
        return Secret(self.secrets[name]) if name in self.secrets else no_secret(name)

    def take(self, lines: list[str]) -> None:
        self.got += [json.loads(line) for line in lines]

    def write(self, *records: Record) -> None:
        for record in records:
            self.journal.append(record)
        self.journal.flush()

    def configure(self, kind: str, port: int, **more: Any) -> None:
        url = f"localhost:{port}" if kind == "syslog" else f"https://localhost:{port}/v1/logs"
        self.configs = {
            "siem": ExportConfig("siem", kind, url, **({"ca_pem": self.ca, "format": "jsonl"} | more))
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        loop = asyncio.new_event_loop()
        task = loop.create_task(self.sinks.run())

        def run() -> None:
            with contextlib_cancelled():
                loop.run_until_complete(task)
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(20)
            assert not thread.is_alive()

    def status(self) -> Mapping[str, Any]:
        return next(iter(self.sinks.status()), {})

    def uids(self) -> list[str]:
        return [one["uid"] for one in self.got]


@contextmanager
def contextlib_cancelled() -> Iterator[None]:
    try:
        yield
    except asyncio.CancelledError:
        return


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.journal.close()


@pytest.fixture
def http(world: World) -> Iterator[HttpCollector]:
    made = HttpCollector(world.certificates, world.take)
    yield made
    made.close()


def test_https_sends_json_lines_with_a_token_and_the_places_of_a_batch(
    world: World, http: HttpCollector
) -> None:
    world.secrets["lake-token"] = "t0ken"
    world.configure("https", http.port, secret="lake-token")
    asked = decision(1_800_000_000.0)
    world.write(asked, outcome(asked), event(1_800_000_001.0, 1))
    with world.running():
        wait_for(lambda: world.status().get("state") == "idle" and world.status()["sent"] == 2)
        status, metrics = world.status(), generate_latest(world.registry).decode()
    boot = world.journal.boot
    assert world.uids() == [f"gateway-a/{boot}/0", f"gateway-a/{boot}/2"]
    assert (world.got[0]["status"], world.got[0]["bytes_out"]) == (200, 5)
    assert http.requests[0]["Authorization"] == "Bearer t0ken"
    assert http.requests[0]["Idempotency-Key"] == f'"gateway-a/{boot}/0-2"'
    assert (status["state"], status["sent"], status["error"]) == ("idle", 2, "")
    assert 'limen_export_sent_total{sink="siem"} 2.0' in metrics
    assert CursorFile(world.state / "exports", "siem").load().cursor == {"gateway-a": (boot, 3)}


def test_https_sends_ocsf_as_an_array(world: World, http: HttpCollector) -> None:
    world.configure("https", http.port, format="ocsf", classes=("events",))
    world.write(*some(3))
    with world.running():
        wait_for(lambda: len(world.got) == 1)
    assert (world.got[0]["class_uid"], http.requests[0]["Content-Type"]) == (3002, "application/json")


def test_otlp_sends_log_records(world: World, http: HttpCollector) -> None:
    world.configure("otlp", http.port)
    world.write(*some(4))
    with world.running():
        wait_for(lambda: len(world.got) == 6)
    assert http.requests[0]["Content-Type"] == "application/json"
    assert http.requests[0]["path"] == "/v1/logs"


def test_syslog_frames_each_message_by_its_length(world: World) -> None:
    collector = SyslogCollector(world.certificates, world.take)
    world.configure("syslog", collector.port)
    world.write(decision(1_800_000_000.0, verdict="deny"), event(1_800_000_001.0, 1))
    with world.running():
        wait_for(lambda: world.status().get("sent") == 2)
    collector.close()
    assert collector.raw[0].startswith(b"<108>1 2027-01-15T08:00:00.000000Z ")
    assert collector.raw[0].split(b" ")[3:7] == [b"limen", b"-", b"decision", b"-"]
    assert collector.raw[1].startswith(b"<110>1 ")


def test_a_syslog_collector_that_never_answers_the_end_is_believed_in_the_end(world: World) -> None:
    collector = SyslogCollector(world.certificates, world.take, silent=True)
    world.configure("syslog", collector.port)
    world.write(decision(1_800_000_000.0))
    with world.running():
        wait_for(lambda: world.status().get("sent") == 1)
        world.write(decision(1_800_000_001.0))
        wait_for(lambda: world.status().get("sent") == 2)
    collector.close()
    assert set(world.uids()) == {f"gateway-a/{world.journal.boot}/{place}" for place in (0, 1)}


def test_a_collector_that_is_away_loses_nothing_and_shows_as_lag(world: World, http: HttpCollector) -> None:
    port = http.port
    http.close()
    world.configure("https", port)
    world.write(*some(CHUNK * 3, time.time() - 3_600))
    with world.running():
        wait_for(lambda: world.status().get("failures", 0) > 2)
        status = world.status()
        assert (status["state"], status["sent"]) == ("failing", 0)
        assert 3_500 < status["lag_s"] < 3_700
        assert 'limen_export_failing{sink="siem"} 1.0' in generate_latest(world.registry).decode()
        again = HttpCollector(world.certificates, world.take, port)
        wait_for(lambda: len(world.got) == CHUNK * 4)
        again.close()
    assert len(set(world.uids())) == CHUNK * 4


@pytest.mark.parametrize("status", [301, 401, 403, 404, 429, 500, 503])
def test_an_answer_that_is_not_about_the_content_is_tried_again(
    world: World, http: HttpCollector, status: int
) -> None:
    http.answers = [(status, {"Retry-After": "0", "Location": "https://localhost/"})]
    world.configure("https", http.port)
    world.write(decision(1_800_000_000.0))
    with world.running():
        wait_for(lambda: len(world.got) == 1)
        wait_for(lambda: world.status()["state"] == "idle")
        assert (world.status()["failures"], world.status()["refused"]) == (1, 0)


def test_a_record_that_is_refused_is_set_aside_and_the_others_arrive(
    world: World, http: HttpCollector
) -> None:
    http.refuse = lambda body: "poison" in body
    world.configure("https", http.port)
    world.write(*(decision(1_800_000_000.0 + n, path="/poison" if n == 37 else "/a") for n in range(100)))
    with world.running():
        wait_for(lambda: world.status().get("sent") == 99)
        wait_for(lambda: world.status()["refused"] == 1)
    (aside,) = (world.state / "exports" / "siem.refused.jsonl").read_text().splitlines()
    assert json.loads(aside)["record"].endswith("/37")
    assert "poison" not in aside  # where it stands, not what it says: the journal seals that
    assert len(set(world.uids())) == 99


def test_a_collector_that_refuses_everything_is_an_outage(world: World, http: HttpCollector) -> None:
    http.refuse = lambda body: True
    world.configure("https", http.port)
    world.write(*some(40))
    with world.running():
        wait_for(lambda: world.status().get("failures", 0) > 1)
        assert world.status()["refused"] == REFUSED_IN_A_ROW_MAX
        http.refuse = lambda body: False
        wait_for(lambda: world.status()["state"] == "idle")
    assert len(set(world.uids())) == 54 - REFUSED_IN_A_ROW_MAX


def test_a_collector_of_another_ca_gets_nothing(world: World, http: HttpCollector, tmp_path: Path) -> None:
    for kind in ("https", "otlp"):
        world.configure(kind, http.port, ca_pem=make_certificates(tmp_path / "other"))
        world.write(decision(1_800_000_000.0))
        with world.running():
            wait_for(lambda: "certificate" in world.status().get("error", "").lower())
    syslog = SyslogCollector(world.certificates, world.take)
    world.configure("syslog", syslog.port, ca_pem=make_certificates(tmp_path / "other"))
    with world.running():
        wait_for(lambda: "certificate" in world.status().get("error", "").lower())
    syslog.close()
    assert world.got == [] and http.requests == []


def test_a_collector_of_another_name_gets_nothing(world: World, http: HttpCollector, tmp_path: Path) -> None:
    ca = make_certificates(tmp_path / "elsewhere", "siem.corp.example")
    collector = SyslogCollector(tmp_path / "elsewhere", world.take)
    world.configure("syslog", collector.port, ca_pem=ca)
    world.write(decision(1_800_000_000.0))
    with world.running():
        wait_for(lambda: world.status().get("failures", 0) > 1)
    collector.close()
    assert world.got == []


@pytest.mark.parametrize("missing", ["secret", "pseudonyms"])
def test_without_its_secret_a_sink_sends_nothing(world: World, http: HttpCollector, missing: str) -> None:
    world.configure("https", http.port, **{missing: "a-secret"})
    world.write(decision(1_800_000_000.0))
    with world.running():
        wait_for(lambda: "a-secret" in world.status().get("error", ""))
        assert http.requests == []
        world.secrets["a-secret"] = "k" * 32
        wait_for(lambda: len(world.got) == 1)


def test_an_error_reaches_no_terminal_raw(world: World, http: HttpCollector) -> None:
    world.configure("https", http.port, secret="\x1b[31m\x9b")
    world.write(decision(1_800_000_000.0))
    with world.running():
        wait_for(lambda: "\\x1b[31m\\x9b" in world.status().get("error", ""))


def test_pseudonyms_name_nobody(world: World, http: HttpCollector) -> None:
    world.secrets["export-key"] = "k" * 32
    world.configure("https", http.port, pseudonyms="export-key", format="ocsf")
    world.write(*some(5))
    with world.running():
        wait_for(lambda: len(world.got) == 7)
    assert re.findall(r"\bada\b|203\.0\.113\.9|ses_1", json.dumps(world.got)) == []


def test_a_sink_that_is_changed_goes_on_from_its_cursor(world: World, http: HttpCollector) -> None:
    world.configure("https", http.port)
    world.write(*some(4))
    with world.running():
        wait_for(lambda: len(world.got) == 6 and world.status().get("state") == "idle")
        world.configure("https", http.port, format="ocsf")
        world.write(event(1_800_000_100.0, 9))
        wait_for(lambda: len(world.got) == 7)
        world.configs = {}
        wait_for(lambda: world.sinks.status() == [])
    assert world.got[6]["class_uid"] == 3002


def test_records_that_were_gone_before_they_could_be_sent_are_counted(
    world: World, http: HttpCollector
) -> None:
    boot = world.journal.boot
    CursorFile(world.state / "exports", "siem").save(Kept({"gateway-a": ("00000000-00000000", 5)}))
    world.write(*some(3))
    world.journal.close()
    first = next((world.root / "gateway-a").glob("*.seg"))
    later = Journal.open(world.root, "gateway-a", SystemClock())
    later.append(decision(1_800_000_200.0))
    later.flush()
    CursorFile(world.state / "exports", "siem").save(Kept({"gateway-a": (boot, 2)}))
    world.configure("https", http.port)
    first.unlink()
    with world.running():
        wait_for(lambda: len(world.got) == 1)
        wait_for(lambda: world.status()["state"] == "idle")
    later.close()
    assert world.uids() == [f"gateway-a/{later.boot}/0"]


def test_a_damaged_cursor_sends_all_again(tmp_path: Path) -> None:
    file = CursorFile(tmp_path, "siem")
    file.save(Kept({"gateway-a": ("00000001-aaaaaaaa", 7)}, sent=7))
    assert file.load().cursor == {"gateway-a": ("00000001-aaaaaaaa", 7)}
    (tmp_path / "siem.json").write_bytes(b'{"cursor":')
    assert file.load() == Kept()


def test_a_full_disk_keeps_a_sink_waiting_and_ends_none(
    world: World, http: HttpCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = threading.Event()
    full.set()
    save: Callable[[CursorFile, Kept], None] = CursorFile.save

    def refuse(self: CursorFile, kept: Kept) -> None:
        if full.is_set():
            raise OSError(28, "No space left on device")
        save(self, kept)

    monkeypatch.setattr(CursorFile, "save", refuse)
    world.configure("https", http.port)
    world.write(*some(2))
    with world.running():
        wait_for(lambda: "No space" in world.status().get("error", ""))
        full.clear()
        wait_for(lambda: world.status()["state"] == "idle")
    assert len(world.got) == 3
