"""Every lint rule in one table: read by the linter, `limen policy check`, and `docs/reference/lint.md`.

An error is a finding behind which someone may get in who should not, or nobody may mend it any more;
it stops `apply`. Where the outcome is only that too much is denied, or that something is untidy, it is
a warning.
"""

import msgspec

from limen.core.errors import Severity


class LintRule(msgspec.Struct, frozen=True):
    """One rule: what it finds, why that matters, what it sees and cannot see, and what to do."""

    id: str
    severity: Severity
    title: str
    why: str
    sees: str
    blind: str
    remedy: str
    example: str


def _error(rule_id: str, *texts: str) -> LintRule:
    return LintRule(rule_id, Severity.ERROR, *texts)


def _warning(rule_id: str, *texts: str) -> LintRule:
    return LintRule(rule_id, Severity.WARNING, *texts)


_PROOF = (
    "Constants, a test and its opposite, contradictory comparisons of one term with literals (within "
    "the bounds "
    "that the schema gives: hour 0 to 23, aal 1 to 3, …), scopes against the catalogue, an attribute "
    "read where "
    "`has` says that it is missing. A finding is a proof."
)
_NO_PROOF = (
    "Relations between two terms, membership of one group in another, text patterns, address ranges, and "
    "conditions with more than 256 alternatives: these count as possible, so no finding is no proof."
)

RULES: tuple[LintRule, ...] = (
    _error(
        "unbounded-permit",
        "Permit without a bound",
        "A permit that names no resource opens every app and service, those of next year and Limen's own "
        "administration included. One that names no principal opens to every person and every workload.",
        "A scope with no entity, together with conditions that do not read that side once constants are "
        "worked out.",
        "Whether a condition that reads the principal or resource bounds it in earnest.",
        "Name a group, an app, a label or a segment in the scope; for all people of the organisation write "
        "`principal is User`.",
        "permit(principal, action, resource);",
    ),
    _warning(
        "unsatisfiable-permit",
        "Permit that no one can satisfy",
        "It reads as if it opened something, and never does. Someone will lean on it. A permit of `connect` "
        "that meets only apps is one, and so is a permit of `read` that meets only services.",
        _PROOF + " Guardrails that take in the permit's whole scope are counted in.",
        _NO_PROOF,
        "Correct the condition, or remove the policy.",
        'permit(principal in Group::"staff", action, resource in App::"wiki") when { context.hour > 23 };',
    ),
    _error(
        "dead-guardrail",
        "Guardrail that can never fire",
        "It reads as if it protected something, and never does.",
        _PROOF,
        _NO_PROOF,
        "Correct the condition, or remove the policy.",
        "forbid(principal is User, action, resource) unless { context.session.aal >= 1 };",
    ),
    _error(
        "unguarded-optional",
        "Forbid that reads an optional attribute without `has`",
        "Where the attribute is missing the forbid errs, and Cedar skips a policy that errs. Limen's "
        "engine turns "
        "that into a denial (law D3), so the price is people shut out for no reason that they can read.",
        "What Cedar's validator sees: it follows `has` through `&&`, `||`, `if`, `when` and `unless`.",
        "Nothing: the validator is sound.",
        "Write `context has device && context.device.compliant`.",
        'forbid(principal, action, resource in Label::"phi") unless { context.device.compliant };',
    ),
    _error(
        "unknown-attribute",
        "Attribute that the schema does not know",
        "Behind a `has` it is no error to Cedar: the test is simply never true. A forbid then never "
        "fires, or a "
        "permit never opens.",
        "Every `has` on a path from principal, resource or context. Without `has`, Cedar's validator "
        "finds it.",
        "Nothing.",
        "Correct the name, or declare it under `attributes:` in limen.yaml.",
        "forbid(principal is User, action, resource) when { principal.attributes has clearence };",
    ),
    _warning(
        "unmemoisable-time",
        "Time that cannot be memoised",
        "Its answer has no next instant that can be named, so each decision that meets it is worked out "
        "afresh.",
        "Any use of `context.now`, `hour`, `weekday`, `session.age` or `session.auth_age` other than "
        "compared with "
        "a literal, or looked for in a set of literals.",
        "Nothing.",
        'Compare the term with a literal: `context.session.auth_age <= duration("15m")`.',
        "forbid(principal, action, resource) when { context.hour + 1 > 18 };",
    ),
    _warning(
        "unknown-group",
        "Group that the directory does not have",
        "A permit for it lets no one in. A forbid for it holds no one back, and is an error.",
        "Group names in policies, `allow` and `mode`, against the directory of the running system.",
        "Without a running system there is no directory to compare with, and the rule is silent.",
        "Correct the name, or make the group first: `limen group add NAME`.",
        'permit(principal in Group::"saff", action == Action::"read", resource in App::"wiki");',
    ),
    _warning(
        "warn-without-date",
        "Warning that names no day",
        "A person who is told that something will be denied, and not from when, puts the cure off.",
        "`mode: warn` of apps, routes, services and of groups within them.",
        "Nothing.",
        "Add the day from which it will be denied: `mode: {stage: warn, until: 2026-12-31}`.",
        "payroll: {upstream: https://pay1.internal:8443, mode: warn}",
    ),
    _warning(
        "unreferenced-group",
        "Group that no policy names",
        "Being in it changes nothing by itself. That is often a slip, and sometimes a group that other "
        "software uses.",
        "Group names of the directory, against policies and `allow`. One finding lists them all.",
        "Whether a group that no policy names lies within one that a policy names.",
        "Name it in a policy, or remove it.",
        "a group `interns` that appears in no policy",
    ),
    _warning(
        "unknown-label",
        "Label that nothing carries",
        "A permit for it opens nothing. A forbid for it protects nothing, and is an error.",
        "Label names in policies, against the labels of apps, routes and services.",
        "Nothing.",
        "Correct the name, or put the label on a resource.",
        'forbid(principal, action, resource in Label::"pih");',
    ),
    _warning(
        "unreferenced-label",
        "Label that no policy names",
        "The label promises a protection that does not exist.",
        "Labels of apps, routes and services, against policies.",
        "Whether the policy that names it protects it well.",
        "Write the guardrail that the label stands for, or remove the label.",
        'labels: [phi], with no policy that says Label::"phi"',
    ),
    _warning(
        "unknown-resource",
        "App, route, service or segment that does not exist",
        "A permit for it opens nothing. A forbid for it protects nothing, and is an error.",
        "`App`, `Route`, `Service` and `Segment` names in policies, against limen.yaml.",
        "Nothing.",
        "Correct the name, or add it to limen.yaml.",
        'permit(principal in Group::"hr", action, resource in App::"payrol");',
    ),
    _warning(
        "duplicate-policy",
        "Two policies that say the same",
        "Removing one changes nothing, so whoever removes one is misled.",
        "Equal effect, scope and conditions, however they are laid out and annotated; short forms of "
        "`allow` too.",
        "Policies that mean the same in other words, or of which one contains the other.",
        "Keep one of the two.",
        "the same permit in two files",
    ),
    _warning(
        "unnamed-resource",
        "Resource that no policy names",
        "Nothing permits anything on the app or service, so nobody reaches it.",
        "Permits whose scope meets it or one of its routes with an action that it has (`connect` for a "
        "service); public routes count as named.",
        "Whether such a permit can be satisfied: see unsatisfiable-permit.",
        "Add `allow:` to it, or a permit for it.",
        "an app with no `allow:` and no permit",
    ),
    _warning(
        "no-mfa-resource",
        "Resource reachable without MFA",
        "A password alone is what attackers have (NIST SP 800-63B 4.2; CISA: implement "
        "phishing-resistant MFA).",
        "Each permit that meets the app or service, for a person whose session has aal 1 and no passkey, "
        "against every forbid that takes in the permit's scope.",
        "Two forbids that only together demand a second factor count for nothing, so the finding may be "
        "too careful.",
        "Add the starter guardrail mfa-everywhere, or demand `context.session.aal >= 2` in the permit.",
        "a bundle with no guardrail at all",
    ),
    _error(
        "no-administrator",
        "Nobody can administer Limen",
        'Once applied, no one could apply anything else. Limen is administered as `App::"limen"`, '
        "action `admin`.",
        "Whether some permit meets that app with that action and is not proved unsatisfiable.",
        "Whether anybody is in the group that it names; `apply` asks the directory.",
        "Add policies/entitlements/limen.cedar as `limen init` writes it.",
        "a bundle with entitlements for apps only",
    ),
    _warning(
        "missing-reason",
        "Guardrail without a reason",
        "People who are denied read the `@reason`; without it they read the policy's id.",
        "Forbids without `@reason`.",
        "Whether the sentence helps.",
        'Add `@reason("One sentence to the person who is denied.")`.',
        '@id("office-hours") forbid(principal, action, resource) when { context.hour < 6 };',
    ),
    _warning(
        "public-labelled",
        "Public route in a labelled resource",
        "Everyone reaches the route, with no policy asked, though the label says that it holds "
        "something to protect.",
        "Routes with `public: true` that carry a label or lie in an app that does.",
        "What the route really serves.",
        "Make sure that it shows nothing of what the label stands for, or remove `public`.",
        "labels: [phi] on the app, and {path: /files/**, public: true}",
    ),
)

BY_ID = {rule.id: rule for rule in RULES}
