"""Laws of bundles: all or nothing, content names it, and lint proves what it says."""

# ruff: noqa: E501 (a policy or a test reads better on one line)

import itertools
from typing import Any

import msgspec
import yaml
from engine_strategies import limen_yaml_trees
from hypothesis import given, settings
from hypothesis import strategies as st

from limen.core.catalogue import StreamLimits
from limen.core.errors import BundleRefused
from limen.engine.bundle import bundle_id, parse_bundle
from limen.engine.bundle_tests import run_tests
from limen.engine.lint import lint
from limen.engine.policies import compile_policies
from limen.engine.starter import starter_files

GOOD = starter_files("corp.example")

atoms = st.one_of(
    st.builds(
        "context.hour {} {}".format, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.integers(-1, 24)
    ),
    st.builds("{} {} context.weekday".format, st.integers(0, 8), st.sampled_from(["<", ">=", "==", "!="])),
    st.builds("{}.contains(context.hour)".format, st.lists(st.integers(0, 23), min_size=1, max_size=3)),
    st.builds(
        "(context has session && context.session.aal {} {})".format,
        st.sampled_from(["<", ">=", "==", "!="]),
        st.integers(0, 4),
    ),
    st.builds(
        '(context has session && context.session.auth_age {} duration("{}s"))'.format,
        st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
        st.integers(0, 4),
    ),
    st.builds('(principal is User && principal.kind == "{}")'.format, st.sampled_from(["employee", "nobody"])),
    st.builds('resource in Label::"{}"'.format, st.sampled_from(["phi", "pii"])),
    st.builds('principal in Group::"{}"'.format, st.sampled_from(["a", "b"])),
    st.builds('action == Action::"{}"'.format, st.sampled_from(["read", "write", "admin", "connect"])),
    st.sampled_from(
        ["true", "false", "context has device", "(context has device && context.device.compliant)",
         "principal is Workload", "resource is Route", "context.network.anonymizer",
         "context.network.anonymizer == false", "1 + 1 == 2", "resource is Service", '(resource is Service && resource.protocol == "ssh")', 'resource == App::"one"', "(!(context has device))"]
    ),
)  # fmt: skip

conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("(!({}))".format, inner),
        st.builds("(if {} then {} else {})".format, inner, inner, inner),
    ),
    max_leaves=5,
)

scopes = st.builds(
    "{}, {}, {}".format,
    st.sampled_from(["principal", "principal is User", 'principal in Group::"a"', 'principal is Workload in Group::"b"']),
    st.sampled_from(["action", 'action == Action::"write"', 'action in [Action::"read", Action::"admin"]', 'action == Action::"connect"', 'action in Action::"access"']),
    st.sampled_from(["resource", "resource is Route", 'resource in App::"one"', 'resource in Label::"phi"', 'resource == App::"two"', 'resource is Service', 'resource == Service::"db"', 'resource in Segment::"data"']),
)  # fmt: skip

SUBJECTS = ("{groups: [a]}", "{groups: [a, b]}", "{workload: w, groups: [b]}", "{kind: partner}")
CONTEXTS = ("", ", device: {compliant: true}", ", device: {}", ", network: {anonymizer: true}")
SESSIONS = ("aal: 1, auth_age: 0", "aal: 2, auth_age: 2", "aal: 3, auth_age: 3", "aal: 1, auth_age: 4")


def _grid() -> str:
    """Write a test for every hour, and everything else in turn, so that few are alike."""
    web = itertools.product(SUBJECTS, ("read", "write", "admin"), ("one", "two", "two/part"))
    kinds = [*web, *itertools.product(SUBJECTS, ("connect",), ("db", "shell"))]
    lines = []
    for number, (hour, (subject, action, resource)) in enumerate(itertools.product(range(24), kinds)):
        context = (
            f"hour: {hour}, weekday: {number % 7 + 1}, {SESSIONS[number % 4]}{CONTEXTS[number // 4 % 4]}"
        )
        lines.append(
            f"- {{name: n, expect: allow, subject: {subject}, action: {action}, resource: {resource}, context: {{{context}}}}}\n"
        )
    return "".join(lines)


YAML = """\
domain: d.example
apps:
  one: {upstream: "http://h:1", labels: [pii]}
  two: {upstream: "http://h:1", labels: [phi], routes: [{name: part, path: /p, labels: [pii]}]}
services:
  db: {address: "h:5432", protocol: postgres, labels: [phi], segment: data}
  shell: {address: "h:22", protocol: ssh, labels: [pii]}
segments: {data: {in: prod}}
"""


GRID = parse_bundle({"limen.yaml": YAML, "tests/grid.yaml": _grid()}).tests


@settings(max_examples=100, deadline=None)
@given(scopes, conditions, st.sampled_from(["permit", "forbid"]))
def test_what_lint_calls_impossible_never_happens(scope: str, condition: str, effect: str) -> None:
    cedar = f'@id("x") @reason("r") {effect}({scope}) when {{ {condition} }};\n'
    if effect == "forbid":
        cedar += '@id("all") permit(principal, action, resource);\n'
    try:
        bundle = parse_bundle({"limen.yaml": YAML, "policies/x.cedar": cedar})
    except BundleRefused as refused:
        assert {finding.id for finding in refused.findings} <= {"schema-mismatch", "impossible-scope"}
        return
    impossible = any(
        finding.id in ("unsatisfiable-permit", "dead-guardrail") and finding.line == 1
        for finding in lint(bundle)
    )
    if impossible:
        tried = msgspec.structs.replace(bundle, tests=GRID)
        assert not [result.name for result in run_tests(tried) if "x" in result.policies]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.integers(0, 4000), st.text(max_size=6), st.integers(0, 40))
def test_b1_all_or_nothing(path: str, at: int, written: str, cut: int) -> None:
    text = GOOD[path]
    broken = text[: at % len(text)] + written + text[at % len(text) + cut :]
    try:
        bundle = parse_bundle({**GOOD, path: broken})
    except BundleRefused as refused:
        for finding in refused.findings:
            assert finding.line >= 1
            assert finding.column >= 1
            assert finding.message
            assert finding.remedy
    else:
        run_tests(bundle)


@settings(max_examples=150, deadline=None)
@given(limen_yaml_trees())
def test_what_is_written_is_what_is_parsed(tree: dict[str, Any]) -> None:
    bundle = parse_bundle({"limen.yaml": yaml.safe_dump(tree, sort_keys=False)})
    found = bundle.catalogue
    assert (list(found.apps), list(found.services)) == (list(tree["apps"]), list(tree["services"]))
    usual = msgspec.structs.replace(StreamLimits(), **tree["streams"])
    for name, app in found.apps.items():
        wrote = tree["apps"][name]
        assert app.upgrades == tuple(wrote.get("upgrades", ("websocket",)))
        assert app.http2 == wrote.get("http2", False)
        assert app.streams == msgspec.structs.replace(usual, **wrote.get("streams", {}))
        streaming = [route["name"] for route in wrote.get("routes", ()) if route.get("streaming")]
        assert [route.name for route in app.routes if route.streaming] == streaming
    for name, service in found.services.items():
        wrote = tree["services"][name]
        host = f"[{service.address}]" if ":" in service.address else service.address
        assert f"{host}:{service.port}" == wrote["address"]
        assert service.host == f"{name}.corp.example"
        assert service.protocol == wrote.get("protocol", "tcp")
        usual_s = 30 if wrote.get("labels") else 300
        assert service.staleness_max_s == wrote.get("staleness_max_s", usual_s)
        assert service.streams == msgspec.structs.replace(usual, **wrote.get("streams", {}))
    allowed = {f"allow:{name}:{who}" for part in ("apps", "services") for name, wrote in tree[part].items() for who in wrote.get("allow", ())}  # fmt: skip
    assert {policy.id for policy in bundle.policies} == allowed
    assert len(bundle.policies) == len(allowed)
    compile_policies(bundle)


@given(
    st.dictionaries(
        st.text("abc/", min_size=1, max_size=4), st.text("ab\r\n\ufeff:", max_size=6), max_size=3
    ),
    st.dictionaries(
        st.text("abc/", min_size=1, max_size=4), st.text("ab\r\n\ufeff:", max_size=6), max_size=3
    ),
)
def test_b2_content_names_it(one: dict[str, str], other: dict[str, str]) -> None:
    def canonical(files: dict[str, str]) -> dict[str, list[str]]:
        return {
            path: text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
            for path, text in files.items()
        }

    assert (bundle_id(one) == bundle_id(other)) == (canonical(one) == canonical(other))
    assert bundle_id(one) == bundle_id(dict(reversed(one.items())))
