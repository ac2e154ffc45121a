"""`tests/**/*.yaml` into bundle tests: sentences that say who, what, where, and what the answer is."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import yaml

from limen.core.catalogue import Catalogue
from limen.core.decision import Code
from limen.core.errors import Finding
from limen.core.ids import EntityRef
from limen.core.needs import NEEDS
from limen.core.resources import ACTIONS_ON, catalogue_entities
from limen.engine import rules
from limen.engine.bundle_values import BundleTest, TestSubject
from limen.engine.forms import (
    Anything,
    Choice,
    Duration,
    Flag,
    Key,
    Many,
    MapOf,
    Rule,
    Table,
    Text,
    Whole,
    nearest,
)
from limen.engine.read_forms import MISSING, Log, Path, read
from limen.engine.schema import ACTIONS
from limen.engine.yaml_text import YamlRefused, compose, place

REMEDIES = frozenset(
    {
        *NEEDS,
        "sign-in",
        "enrolled-device",
        "compliant-device",
        "grant",
        "later",
        "lower-risk",
    }
)
POSTURE_CHECKS = (
    "disk_encrypted",
    "firewall",
    "screen_lock",
    "os_supported",
    "updates_current",
    "edr_running",
)


def _address(text: str) -> str:
    import ipaddress

    return str(ipaddress.ip_address(text))


def _instant(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("Say the offset, as in 2026-03-02T10:00:00+00:00, or give hour and weekday.")
    return text


_ADDRESS = Rule("an address, such as 10.1.2.3", _address)
_INSTANT = Rule("an instant, such as 2026-03-02T10:00:00+00:00", _instant)


def _resource(text: str) -> str:
    name = rf"{rules.LABEL}(/{rules.LABEL})?"
    if not re.fullmatch(rf'{name}|(App|Route|Service)::"{name}"', text):
        raise ValueError('Write payroll, payroll/exports or ledger-db; or Service::"ledger-db", as in Cedar.')
    return text


_RESOURCE = Rule("an app, app/route, or a service", _resource)


DEVICE = Table(
    {
        "compliant": Key(Flag(), "Every posture check passes.", "false"),
        "trust": Key(Whole(0, 3), "0 unknown, 1 registered, 2 managed, 3 attested.", "2"),
        "platform": Key(Text(rules.WORD), "Its operating system.", "linux"),
        "quarantined": Key(Flag(), "Cut off by an administrator.", "false"),
        "posture": Key(
            Table({name: Key(Flag(), "A posture check.", "unknown") for name in POSTURE_CHECKS}),
            "Its checks.",
        ),
    }
)
NETWORK = Table(
    {
        "ip": Key(Text(_ADDRESS), "The address they come from.", "192.0.2.10"),
        "country": Key(Text(rules.WORD), "Its country.", "unknown"),
        "asn": Key(Whole(0, 2**32 - 1), "Its autonomous system.", "unknown"),
        "anonymizer": Key(Flag(), "A VPN service, Tor, a hosting network.", "false"),
    }
)
CONTEXT = Table(
    {
        "aal": Key(Whole(1, 3), "Assurance of the sign-in, NIST SP 800-63B.", "2"),
        "phishing_resistant": Key(Flag(), "Signed in with a passkey.", "false"),
        "methods": Key(Many(Text(rules.WORD)), "How they signed in.", "password and totp, or passkey"),
        "auth_age": Key(Duration(), "How long ago they proved who they are.", "5m"),
        "age": Key(Duration(), "How long ago the session began.", "5m"),
        "hour": Key(Whole(0, 23), "The hour, in the bundle's time zone.", "10"),
        "weekday": Key(Whole(1, 7), "1 is Monday.", "2"),
        "now": Key(Text(_INSTANT), "The instant, instead of hour and weekday.", "a Tuesday at 10"),
        "risk": Key(Whole(0, 100), "Their risk.", "0"),
        "signals": Key(Many(Text(rules.WORD)), "Signals about them.", "none"),
        "network": Key(NETWORK, "Where they come from."),
        "device": Key(DEVICE, "Their device.", "no device"),
    }
)
SUBJECT = Table(
    {
        "user": Key(Text(rules.USER), "A username.", "a person whose name does not matter"),
        "workload": Key(Text(rules.USER), "A workload, instead of a person."),
        "groups": Key(Many(Text(rules.GROUP), one_ok=True), "The groups they are in.", "none"),
        "kind": Key(Choice(("employee", "contractor", "partner")), "How they belong.", "employee"),
        "attributes": Key(MapOf(rules.ATTRIBUTE, Anything()), "Their attributes.", "none"),
        "anonymous": Key(Flag(), "Nobody is signed in.", "false"),
    }
)
TEST = Table(
    {
        "name": Key(Text(rules.WORD), "A sentence that says what must hold.", required=True),
        "subject": Key(SUBJECT, "Who asks.", required=True),
        "action": Key(
            Choice(ACTIONS),
            "What they want; `connect` for services, `sign_in` for clients.",
            required=True,
        ),
        "resource": Key(Text(_RESOURCE), "An app, app/route, or a service.", required=True),
        "context": Key(CONTEXT, "What differs from a careful employee at work."),
        "expect": Key(Choice(("allow", "deny")), "The answer.", required=True),
        "because": Key(
            Many(Text(rules.WORD), one_ok=True), "Policies, or a code, that must be among the reasons."
        ),
        "cure": Key(
            Many(Text(rules.WORD), one_ok=True), "Exactly the remedies that would turn a deny into an allow."
        ),
    }
)
REQUIRED = frozenset(name for name, key in TEST.keys.items() if key.required)


def parse_test_files(
    files: Mapping[str, str], catalogue: Catalogue, policy_ids: frozenset[str]
) -> tuple[tuple[BundleTest, ...], list[Finding]]:
    """Parse every test file of a bundle."""
    known = _Known(catalogue, policy_ids)
    tests: list[BundleTest] = []
    findings: list[Finding] = []
    for file in sorted(files):
        if not (file.startswith("tests/") and file.endswith((".yaml", ".yml"))):
            continue
        log = Log(file)
        try:
            root = compose(files[file], file)
        except YamlRefused as refused:
            findings.append(refused.finding)
            continue
        if root is not None:
            tests += _tests(root, log, known)
        findings += log.findings
    return tuple(tests), findings


class _Known:
    """What tests may name."""

    def __init__(self, catalogue: Catalogue, policy_ids: frozenset[str]) -> None:
        refs = [ref for ref in catalogue_entities(catalogue) if ref.type in ACTIONS_ON]
        self.resources: dict[str, EntityRef] = {ref.id: ref for ref in refs}
        self.resources |= {f'{ref.type}::"{ref.id}"': ref for ref in refs}
        self.reasons = policy_ids | {code.value for code in Code}
        self.attributes = catalogue.attribute_types


def _tests(root: yaml.Node, log: Log, known: _Known) -> list[BundleTest]:
    if not isinstance(root, yaml.SequenceNode):
        log.add(place(root), "value", "A test file is a list of tests.", "Begin each test with `- name:`.")
        return []
    tests = []
    for index, node in enumerate(root.value):
        path: Path = (index,)
        before = len(log.findings)
        tree = read(node, TEST, log, path)
        if tree is MISSING or len(log.findings) > before or not tree.keys() >= REQUIRED:
            continue
        _check_names(tree, path, log, known)
        if len(log.findings) == before:
            tree["resource"] = known.resources[tree["resource"]].id
            tests.append(_test(tree, log.file, *place(node)))
    return tests


def _test(tree: Mapping[str, Any], file: str, line: int, column: int) -> BundleTest:
    subject = tree["subject"]
    return BundleTest(
        name=tree["name"],
        subject=TestSubject(
            user=subject.get("user"),
            workload=subject.get("workload"),
            groups=tuple(subject.get("groups", ())),
            kind=subject.get("kind", "employee"),
            attributes=subject.get("attributes", {}),
            anonymous=subject.get("anonymous", False),
        ),
        action=tree["action"],
        resource=tree["resource"],
        expect=tree["expect"],
        context=tree.get("context", {}),
        because=tuple(tree["because"]) if "because" in tree else None,
        cure=tuple(tree["cure"]) if "cure" in tree else None,
        file=file,
        line=line,
        column=column,
    )


def _check_names(tree: Mapping[str, Any], path: Path, log: Log, known: _Known) -> None:
    resource = known.resources.get(tree["resource"])
    if resource is None:
        _unknown((*path, "resource"), "resource", tree["resource"], known.resources, log)
    elif tree["action"] not in ACTIONS_ON[resource.type]:
        log.wrong(
            (*path, "action"),
            f"A {resource.type.lower()} has no action `{tree['action']}`.",
            f"Use {' or '.join(ACTIONS_ON[resource.type])}.",
        )
    for index, reason in enumerate(tree.get("because", ())):
        if reason not in known.reasons:
            _unknown((*path, "because", index), "policy", reason, known.reasons, log)
    for index, cure in enumerate(tree.get("cure", ())):
        if cure not in REMEDIES and not cure.startswith("posture:"):
            _unknown((*path, "cure", index), "remedy", cure, REMEDIES, log)
    if "cure" in tree and tree["expect"] == "allow":
        log.wrong((*path, "cure"), "An allow needs no cure.", "Remove `cure`, or expect deny.")
    subject, context = tree["subject"], tree.get("context", {})
    for name, value in subject.get("attributes", {}).items():
        _check_attribute((*path, "subject", "attributes", name), name, value, known, log)
    who = [key for key in ("user", "workload", "anonymous") if subject.get(key)]
    if len(who) > 1:
        log.wrong((*path, "subject"), f"The subject is both {who[0]} and {who[1]}.", "Keep one.")
    if "now" in context and context.keys() & {"hour", "weekday"}:
        log.wrong((*path, "context", "now"), "`now` says the hour and the weekday already.", "Keep one.")


def _check_attribute(path: Path, name: str, value: object, known: _Known, log: Log) -> None:
    wanted = {"String": str, "Long": int, "Bool": bool}.get(known.attributes.get(name, ""))
    if wanted is None:
        _unknown(path, "attribute", name, known.attributes, log)
    elif type(value) is not wanted:
        log.wrong(path, f"`{name}` is a {known.attributes[name]}.", "Give a value of that type.")


def _unknown(path: Path, what: str, name: str, known: Any, log: Log) -> None:
    near = nearest(name, known)
    remedy = f"Did you mean `{near}`?" if near else "Check the spelling."
    log.wrong(path, f"There is no {what} `{name}`.", remedy, f"unknown-{what}")
