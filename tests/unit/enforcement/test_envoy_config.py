"""Envoy's configuration as values: what apps touch, what the patterns mean, what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limen.core.catalogue import (
    AppConfig,
    Catalogue,
    CorsConfig,
    EdgeConfig,
    IdentityConfig,
    UpstreamTls,
)
from limen.core.errors import Invalid, NotFound
from limen.core.secret import Secret
from limen.enforcement.certificates import Pair
from limen.enforcement.envoy.binary import find_envoy
from limen.enforcement.envoy.clusters import parse_upstreams, render_clusters
from limen.enforcement.envoy.config import render_bootstrap
from limen.enforcement.envoy.files import (
    both,
    discovery,
    load_configuration,
    render_configuration,
    write_private,
)
from limen.enforcement.envoy.headers import all_but, strip_mutations
from limen.enforcement.envoy.listener import render_listener
from limen.enforcement.envoy.replies import REPLIES, page, problem
from limen.enforcement.envoy.routes import render_routes
from limen.enforcement.envoy.settings import EnvoySettings

SETTINGS = EnvoySettings(folder=Path("/s/envoy"), run=Path("/s/run"), binary=Path("/bin/envoy"))
PAIR = Pair("CERT", Secret("KEY"), ("corp.example", "*.corp.example"), 2e9)

names = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)
apps = st.builds(
    AppConfig,
    name=names,
    host=names.map(lambda name: f"{name}.corp.example"),
    upstream=st.lists(
        st.sampled_from(("http://127.0.0.1:1", "http://b.internal:2")), min_size=1, max_size=3
    ).map(tuple),
    preserve_host=st.booleans(),
    timeout_s=st.floats(0.1, 3600),
    max_body_bytes=st.integers(1, 1 << 40),
    allow_encoded_slash=st.booleans(),
    cors=st.none() | st.just(CorsConfig(("https://x.example",))),
    identity=st.just(IdentityConfig())
    | st.builds(IdentityConfig, kind=st.just("headers"), headers=st.dictionaries(names, names, max_size=3)),
)
catalogues = st.lists(apps, max_size=4).map(
    lambda made: Catalogue(domain="corp.example", apps={app.name: app for app in made})
)


def app(*upstream: str, **fields: Any) -> AppConfig:
    return AppConfig("wiki", "wiki.corp.example", upstream, **fields)


def routes_of(config: AppConfig) -> list[dict[str, Any]]:
    rendered = render_routes(Catalogue(domain="corp.example", apps={config.name: config}), SETTINGS)
    host = next(host for host in rendered["virtual_hosts"] if host["name"] == f"app_{config.name}")
    routes: list[dict[str, Any]] = host["routes"]
    return routes


@settings(deadline=None)
@given(catalogues)
def test_e1_the_listener_and_the_bootstrap_are_the_same_whatever_the_apps_are(catalogue: Catalogue) -> None:
    bare = Catalogue(domain="corp.example")
    assert render_listener(catalogue, SETTINGS) == render_listener(bare, SETTINGS)
    ours = render_configuration(catalogue, PAIR, SETTINGS)
    assert ours.bootstrap == render_bootstrap(SETTINGS)
    assert ours.lds == render_configuration(bare, PAIR, SETTINGS).lds


@given(catalogues)
def test_equal_catalogues_have_equal_versions(catalogue: Catalogue) -> None:
    shuffled = Catalogue(domain="corp.example", apps=dict(reversed(list(catalogue.apps.items()))))
    first = render_configuration(catalogue, PAIR, SETTINGS)
    assert first.version == render_configuration(shuffled, PAIR, SETTINGS).version
    assert json.loads(first.rds.encode())["version_info"] == first.rds.version


@given(st.sets(st.text("abc-", max_size=4), max_size=5), st.text("abcd-", max_size=5))
def test_all_but_matches_everything_else(words: set[str], text: str) -> None:
    assert bool(re.fullmatch(all_but(words), text)) == (text not in words)


@given(st.text("abcdefghijklmnopqrstuvwxyz-", max_size=12))
def test_of_our_own_headers_only_the_token_comes_in(tail: str) -> None:
    patterns = [
        mutation["remove_on_match"]["key_matcher"]["safe_regex"]["regex"]
        for mutation in strip_mutations(keep_forwarded_for=False)
        if "safe_regex" in mutation.get("remove_on_match", {}).get("key_matcher", {})
    ]
    for name, kept in ((f"x-limen-{tail}", tail == "token"), (f"x-forwarded-{tail}", False)):
        assert kept is not any(re.fullmatch(pattern, name) for pattern in patterns)


def test_a_configuration_does_not_show_its_key() -> None:
    configuration = render_configuration(Catalogue(domain="corp.example"), PAIR, SETTINGS)
    assert "KEY" not in repr(configuration)
    assert "KEY" not in repr(PAIR)
    assert b"KEY" not in configuration.validation(SETTINGS)
    assert b"KEY" in configuration.sds.encode()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a",
        "http://",
        "127.0.0.1:80",
        "http://a/b",
        "http://a?b",
        "http://u:p@a",
        "http://a:0",
        "http://a:x",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match=r"apps\.wiki\.upstream"):
        parse_upstreams(app(url))


def test_schemes_are_not_mixed() -> None:
    with pytest.raises(Invalid, match="one scheme"):
        parse_upstreams(app("http://a:1", "https://b:1"))
    with pytest.raises(Invalid):
        parse_upstreams(app())


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://a", "a"),
        ("https://a:443/", "a"),
        ("https://a:80", "a:80"),
        ("http://[::1]:9001", "[::1]:9001"),
        ("http://10.0.0.1:80", "10.0.0.1"),
    ],
)
def test_the_authority_of_an_upstream_names_the_port_where_it_must(url: str, authority: str) -> None:
    assert parse_upstreams(app(url))[0].authority == authority


def test_an_https_upstream_is_always_verified() -> None:
    for tls in (None, UpstreamTls("CA"), UpstreamTls("CA", "x.internal")):
        config = app("https://a.internal:1", "https://10.0.0.1:1", upstream_tls=tls)
        cluster = render_clusters(Catalogue(domain="corp.example", apps={"wiki": config}), SETTINGS)[0]
        validation = cluster["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]
        assert validation["trusted_ca"]
        assert validation["match_typed_subject_alt_names"]


def test_one_server_has_no_health_checks_and_several_have() -> None:
    def cluster(*urls: str) -> dict[str, Any]:
        catalogue = Catalogue(domain="corp.example", apps={"wiki": app(*urls)})
        return render_clusters(catalogue, SETTINGS)[0]

    assert "health_checks" not in cluster("http://a:1")
    assert "health_checks" in cluster("http://a:1", "http://b:1")


def test_only_safe_methods_are_retried() -> None:
    for urls in (("http://a:1",), ("http://a:1", "http://b:1")):
        policies = [
            r["route"]["retry_policy"]
            for r in routes_of(app(*urls))
            if r.get("route", {}).get("cluster") == "app_wiki"
        ]
        assert policies
        for policy in policies:
            assert (
                policy["retriable_request_headers"][0]["string_match"]["safe_regex"]["regex"]
                == "GET|HEAD|OPTIONS"
            )


def test_trusted_proxies_without_the_proxy_protocol_are_read_from_the_header_only() -> None:
    edge = EdgeConfig(trusted_proxies=("10.1.0.0/16", "fd00::/8", "192.0.2.1"))
    listener = render_listener(Catalogue(domain="corp.example", edge=edge), SETTINGS)
    manager = listener["default_filter_chain"]["filters"][-1]["typed_config"]
    cidrs = manager["original_ip_detection_extensions"][0]["typed_config"]["xff_trusted_cidrs"]["cidrs"]
    assert [(c["address_prefix"], c["prefix_len"]) for c in cidrs] == [
        ("10.1.0.0", 16),
        ("fd00::", 8),
        ("192.0.2.1", 32),
    ]


def test_clusters_that_routes_still_name_stay_until_the_routes_have_changed() -> None:
    old, new = (
        discovery([{"name": "a"}, {"name": "b", "v": 1}]),
        discovery([{"name": "b", "v": 2}, {"name": "c"}]),
    )
    assert both(old, new).resources == ({"name": "b", "v": 2}, {"name": "c"}, {"name": "a"})
    assert both(new, new) == new


def test_what_was_installed_is_loaded_again(tmp_path: Path) -> None:
    kept = EnvoySettings(folder=tmp_path, run=tmp_path, binary=Path("/bin/envoy"))
    configuration = render_configuration(Catalogue(domain="corp.example"), PAIR, kept)
    assert load_configuration(kept) is None
    for kind in ("lds", "cds", "rds", "sds", "sds_machines"):
        write_private(kept.file(kind), getattr(configuration, kind).encode())
    assert load_configuration(kept) == configuration
    assert kept.file("sds").stat().st_mode & 0o077 == 0
    kept.file("rds").write_text("{")
    assert load_configuration(kept) is None


def test_envoys_own_answers_are_complete() -> None:
    assert len({(reply.status, reply.details) for reply in REPLIES}) == len(REPLIES)
    for reply in REPLIES:
        assert reply.sentence in page(reply).replace("&#x27;", "'")
        assert reply.sentence.count("{") == reply.sentence.count("{route}"), "Envoy fills in nothing else"
        assert problem(reply)["status"] == reply.shown


def test_an_upstream_of_http_2_is_spoken_to_in_http_2() -> None:
    config = app("https://a.internal:1", http2=True)
    cluster = render_clusters(Catalogue(domain="corp.example", apps={"wiki": config}), SETTINGS)[0]
    (options,) = cluster["typed_extension_protocol_options"].values()
    assert "http2_protocol_options" in options["explicit_http_config"]
    tls = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    assert tls["alpn_protocols"] == ["h2"]


def test_limen_envoy_chooses_the_program(tmp_path: Path) -> None:
    program = tmp_path / "envoy"
    with pytest.raises(NotFound, match="no Envoy"):
        find_envoy({"LIMEN_ENVOY": str(program)})
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_envoy({"LIMEN_ENVOY": str(program)}) == program
    assert find_envoy({}).name == "envoy"
