"""What no bundle touches: the access log, who decides, and where control is."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from limen.core.catalogue import Catalogue
from limen.core.record import MAX_DURATION
from limen.core.secret import Secret
from limen.enforcement.certificates import Pair
from limen.enforcement.envoy.access_log import StreamBytes, parse_line, parse_outcome
from limen.enforcement.envoy.config import render_bootstrap
from limen.enforcement.envoy.files import render_configuration, render_control_identity, render_endpoints
from limen.enforcement.envoy.fixed_clusters import fixed_clusters
from limen.enforcement.envoy.settings import ControlUpstream, EnvoySettings

SETTINGS = EnvoySettings(folder=Path("/s/envoy"), run=Path("/s/run"), binary=Path("/bin/envoy"))
PAIR = Pair("CERT", Secret("KEY"), ("corp.example", "*.corp.example"), 2e9)


def test_an_access_log_line_becomes_an_outcome() -> None:
    line = {
        "asked": "d1", "denied": None, "at": "1795302041.362", "status": 200, "took_ms": 7,
        "bytes_in": 3, "bytes_out": 5, "flags": "-",
    }  # fmt: skip
    outcome = parse_outcome(json.dumps(line).encode())
    assert outcome is not None
    assert (outcome.id, outcome.at, outcome.status, outcome.duration_ms) == ("d1", 1795302041.362, 200, 7)
    assert (outcome.bytes_in, outcome.bytes_out, outcome.flags) == (3, 5, "")
    denied = parse_outcome(json.dumps({**line, "asked": None, "denied": "d2", "flags": "UAEX"}).encode())
    assert denied is not None
    assert (denied.id, denied.flags) == ("d2", "UAEX")


def test_a_line_on_an_open_stream_tells_its_bytes_and_is_no_outcome() -> None:
    line = {
        "asked": "d1", "denied": None, "at": "1795302041.500", "status": 0, "took_ms": 5250,
        "bytes_in": 3, "bytes_out": 5, "flags": "-", "details": "-", "kind": "DownstreamPeriodic",
    }  # fmt: skip
    raw = json.dumps(line).encode()
    assert parse_line(raw) == StreamBytes("d1", 3, 5, 1795302046.75)
    assert parse_outcome(raw) is None
    assert parse_line(json.dumps({**line, "asked": None}).encode()) is None


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("via_upstream", ""),
        ("-", ""),
        (None, ""),
        ("max_duration_timeout", MAX_DURATION),
        (
            "upstream_reset_before_response_started{remote|address:/tmp/x}",
            "upstream_reset_before_response_started",
        ),
    ],
)
def test_how_it_ended_is_kept_without_particulars(said: str | None, kept: str) -> None:
    line = {"asked": "d1", "at": "1.5", "status": 200, "took_ms": 1, "details": said, "kind": "DownstreamEnd"}
    outcome = parse_outcome(json.dumps(line).encode())
    assert outcome is not None
    assert outcome.details == kept


def test_who_decides_is_told_by_two_files_and_by_nothing_else() -> None:
    other = replace(SETTINGS, slot="b")
    first, second = render_endpoints(SETTINGS), render_endpoints(other)
    assert first.keys() == second.keys() == {"eds_check", "eds_leash"}
    for name in first:
        assert first[name].version != second[name].version
        assert len(first[name].resources) == 1, "Envoy takes one of them from a file"
    assert b"check-b.sock" in second["eds_check"].encode()
    assert b"leash-b.sock" in second["eds_leash"].encode()
    empty = Catalogue(domain="corp.example")
    for left, right in zip(
        msgspec.structs.astuple(render_configuration(empty, PAIR, SETTINGS)),
        msgspec.structs.astuple(render_configuration(empty, PAIR, other)),
        strict=True,
    ):
        assert left == right


def test_control_elsewhere_is_known_by_certificate_and_name_and_its_key_stands_in_no_other_file() -> None:
    far = replace(
        SETTINGS, control=ControlUpstream((("c1.internal", 8444), ("c2.internal", 8444)), "control.x")
    )
    cluster = next(c for c in fixed_clusters(far) if c["name"] == "control")
    context = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    validation = context["combined_validation_context"]
    assert validation["default_validation_context"]["match_typed_subject_alt_names"][0]["matcher"] == {
        "exact": "control.x"
    }
    assert context["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_3"
    assert cluster["lb_policy"] == "ROUND_ROBIN"
    assert cluster["health_checks"]
    files = render_control_identity("CERT", Secret("KEY"), "ROOTS")
    assert b"KEY" in files["sds_control"].encode()
    assert b"KEY" not in files["sds_control_roots"].encode() + json.dumps(render_bootstrap(far)).encode()


@given(st.binary(max_size=60))
def test_a_line_that_tells_no_decision_is_no_outcome(line: bytes) -> None:
    assert parse_outcome(line) is None
