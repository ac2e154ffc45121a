"""Check a bundle: form, schema, lint, tests. What passes here can be applied."""

from collections.abc import Mapping

import msgspec

from limen.core.errors import BundleRefused, Finding, Severity
from limen.engine.bundle import parse_with_warnings
from limen.engine.bundle_tests import TestResult, run_tests
from limen.engine.bundle_values import Bundle
from limen.engine.lint import lint


class CheckReport(msgspec.Struct, frozen=True):
    """What checking found. `bundle` is None when the files do not make one."""

    bundle: Bundle | None
    findings: tuple[Finding, ...]
    results: tuple[TestResult, ...]

    @property
    def ok(self) -> bool:
        """Whether the bundle may be applied: no error, no failed test. Warnings do not stop it."""
        errors = any(finding.severity is Severity.ERROR for finding in self.findings)
        return self.bundle is not None and not errors and all(result.passed for result in self.results)


def check_bundle(files: Mapping[str, str], *, groups: frozenset[str] | None = None) -> CheckReport:
    """Check a bundle's files. `groups` are the directory's, or None when none is at hand."""
    try:
        bundle, warnings = parse_with_warnings(files)
    except BundleRefused as refused:
        return CheckReport(None, refused.findings, ())
    findings = tuple(sorted({*warnings, *lint(bundle, groups=groups)}))
    return CheckReport(bundle, findings, run_tests(bundle))
