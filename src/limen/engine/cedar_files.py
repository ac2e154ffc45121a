"""Cedar files into policies: each parsed alone, so that every error has a place, then validated together."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import cedarpy
import msgspec

from limen.core.errors import Finding, Severity
from limen.engine import rules
from limen.engine.bundle_values import Effect, Layer, Policy
from limen.engine.cedar_text import (
    NESTING_MAX,
    OPERATORS_MAX,
    Places,
    PolicyText,
    error_offset,
    find_access,
    split_policies,
    too_deep,
)
from limen.engine.forms import nearest
from limen.engine.validation import explain_mismatch

GUARDRAILS = "policies/guardrails/"
ENTITLEMENTS = "policies/entitlements/"
ANNOTATIONS = frozenset({"id", "reason", "owner", "source"})
REASON_MAX = 400


class Parsed(msgspec.Struct):
    """What Cedar files gave: policies that parse, their texts, and findings."""

    policies: list[Policy]
    texts: dict[str, tuple[PolicyText, Places]]  # by policy id
    findings: list[Finding]


def cedar_problem(text: str) -> str | None:
    """Return what Cedar's parser says about `text`, or None when it parses."""
    try:
        cedarpy.policies_to_json_str(text)
    except ValueError as error:
        return str(error)
    return None


def parse_cedar_files(files: Mapping[str, str]) -> Parsed:
    """Parse every `policies/**/*.cedar` of a bundle."""
    parsed = Parsed([], {}, [])
    for file in sorted(files):
        if file.startswith("policies/") and file.endswith(".cedar"):
            places = Places(files[file])
            texts = split_policies(files[file])
            together = _together(texts)
            for number, text in enumerate(texts):
                _parse_one(file, text, places, parsed, together[number] if together else None)
    return parsed


def validate(policies: Iterable[Policy], schema: str, parsed: Parsed) -> list[Finding]:
    """Return what Cedar's validator finds, each at its policy and, where it names one, its term."""
    listed = list(policies)
    result = cedarpy.validate_policies("\n".join(policy.cedar for policy in listed), schema)
    findings: set[Finding] = set()
    for error in result.errors:
        number = re.fullmatch(r"policy(\d+)", error.policy_id or "")
        suspects = [listed[int(number[1])]] if number else _blamed(listed, schema)
        for policy in suspects:
            findings.add(_mismatch(policy, str(error.error), parsed))
    return sorted(findings)


def _blamed(policies: list[Policy], schema: str) -> list[Policy]:
    """Find the policies behind an error that names none, by validating each alone."""
    handle = cedarpy.Schema.from_str(schema)
    return [p for p in policies if not cedarpy.validate_policies(p.cedar, handle).validation_passed]


def _mismatch(policy: Policy, error: str, parsed: Parsed) -> Finding:
    mismatch = explain_mismatch(error, policy.effect)
    line, column = policy.line, policy.column
    if policy.id in parsed.texts:
        text, places = parsed.texts[policy.id]
        offset = next((o for term in mismatch.terms if (o := find_access(text, term)) is not None), None)
        if offset is not None:
            line, column = places.at(offset)
    return Finding(
        policy.file, line, column, mismatch.id, f"{policy.id}: {mismatch.message}", mismatch.remedy
    )


def _together(texts: tuple[PolicyText, ...]) -> list[dict[str, Any]] | None:
    """Parse policies in one call, a third of the time of many; None when one of them needs a closer look."""
    if any(too_deep(text) is not None for text in texts):
        return None
    try:
        found = json.loads(cedarpy.policies_to_json_str("\n".join(text.text for text in texts)))
    except ValueError:
        return None
    static = found["staticPolicies"]
    return [static[f"policy{n}"] for n in range(len(texts))] if len(static) == len(texts) else None


def _parse_one(
    file: str, text: PolicyText, places: Places, parsed: Parsed, known: dict[str, Any] | None
) -> None:
    at = places.at(text.start)

    def refuse(finding_id: str, message: str, remedy: str, offset: int = text.start) -> None:
        parsed.findings.append(Finding(file, *places.at(offset), finding_id, message, remedy))

    est = known or _est(text, refuse)
    if est is None:
        return
    notes: dict[str, str] = {name: note or "" for name, note in est.get("annotations", {}).items()}
    effect: Effect = est["effect"]
    _check_folder(file, effect, refuse)
    for name in sorted(notes.keys() - ANNOTATIONS):
        parsed.findings.append(_unknown_annotation(name, file, text, places))
    policy_id = notes.get("id", "")
    if not _id_usable(policy_id, parsed, refuse):
        return
    layer: Layer = "guardrail" if effect == "forbid" else "entitlement"
    reason = reason_of(policy_id, effect, notes.get("reason", ""))
    parsed.policies.append(Policy(policy_id, effect, layer, reason, file, *at, text.text, est))
    parsed.texts[policy_id] = (text, places)


def _est(text: PolicyText, refuse: Callable[..., None]) -> dict[str, Any] | None:
    """Return Cedar's JSON form of one policy, or None with the finding noted."""
    deep = too_deep(text)
    if deep is not None:
        refuse(
            "too-complex",
            f"The policy is deeper than Limen reads ({OPERATORS_MAX} operators, {NESTING_MAX} brackets).",
            "Split it into several policies, or list values in a set: `[1, 2].contains(x)`.",
            deep,
        )
        return None
    try:
        found = json.loads(cedarpy.policies_to_json_str(text.text))
    except ValueError as error:
        offset = error_offset(text, cedar_problem)
        refuse("cedar-syntax", _says(str(error)), _advice(str(error), text), offset)
        return None
    policies = [*found["staticPolicies"].values()]
    if len(policies) == 1 and not found["templates"]:
        return policies[0]  # type: ignore[no-any-return]
    refuse(
        "template",
        "The policy has a slot (`?principal` or `?resource`), so it is a template.",
        "Name the principal and resource; time-bound grants are made from Limen's own template.",
    )
    return None


def _id_usable(policy_id: str, parsed: Parsed, refuse: Callable[..., None]) -> bool:
    if not policy_id:
        refuse(
            "missing-id",
            "The policy has no `@id`.",
            'Put `@id("a-name")` before it: decisions are told by it.',
        )
        return False
    try:
        rules.POLICY_ID.check(policy_id)
    except ValueError:
        refuse("policy-id", f"`{policy_id}` is not a usable id.", f"It must be {rules.POLICY_ID.says}.")
        return False
    if policy_id in parsed.texts:
        other = next(policy for policy in parsed.policies if policy.id == policy_id)
        where = f"{other.file}:{other.line}"
        refuse("duplicate-id", f"The id `{policy_id}` is taken, in {where}.", "Give this policy its own.")
        return False
    return True


def _unknown_annotation(name: str, file: str, text: PolicyText, places: Places) -> Finding:
    near = nearest(name, ANNOTATIONS)
    offset = find_access(text, f"@{name}")
    return Finding(
        file,
        *places.at(text.start if offset is None else offset),
        "unknown-annotation",
        f"`@{name}` means nothing to Limen.",
        f"Did you mean `@{near}`?" if near else "Remove it, or write a comment.",
        Severity.WARNING,
    )


def reason_of(policy_id: str, effect: Effect, given: str) -> str:
    """Return the sentence that people read: the `@reason`, or one made of the id."""
    if given.strip():
        return " ".join(given.split())[:REASON_MAX]
    words = re.sub(r"[-_./]+", " ", policy_id).strip()
    return f"The rule “{words}” {'does not allow this' if effect == 'forbid' else 'allows this'}."


def _check_folder(file: str, effect: Effect, refuse: Callable[..., None]) -> None:
    if file.startswith(GUARDRAILS) and effect != "forbid":
        refuse(
            "permit-in-guardrails",
            "A permit stands among the guardrails.",
            "Move it to policies/entitlements/: guardrails only forbid.",
        )
    if file.startswith(ENTITLEMENTS) and effect != "permit":
        refuse(
            "forbid-in-entitlements",
            "A forbid stands among the entitlements.",
            "Move it to policies/guardrails/: entitlements only permit.",
        )


def _says(problem: str) -> str:
    if problem == "unexpected end of input":
        return "The policy stops too early."
    return f"Cedar does not read this: {problem}."


def _advice(problem: str, text: PolicyText) -> str:
    if not text.ended or problem == "unexpected end of input":
        return "End the policy with `;`, and close every bracket and quote."
    if sum(token.text in ("permit", "forbid") for token in text.tokens) > 1:
        return "A `;` may be missing between two policies here."
    if "policy effect" in problem:
        return "A policy begins with `permit` or `forbid`."
    if "escape" in problem:
        return "Write a backslash in a string as `\\\\`."
    return "Correct the policy at this place."
