"""A bundle: the folder in git that says what exists and who may do what, as frozen values.

Laws:
    B1 all or nothing: `parse_bundle` returns a bundle that fits its schema, or every error at once.
    B2 content names it: equal content has an equal id, whatever the line ends or the order of files.
"""

import hashlib
from collections.abc import Mapping

from limen.core.catalogue import NAMED_FILES
from limen.core.errors import BundleRefused, Finding, Severity
from limen.core.ids import BundleId
from limen.engine import cedar_files
from limen.engine.bundle_test_files import parse_test_files
from limen.engine.bundle_values import Bundle, BundleTest, Effect, Layer, Policy, TestSubject
from limen.engine.limen_yaml import LIMEN_YAML_FILE, parse_limen_yaml
from limen.engine.schema import cedar_schema
from limen.engine.sugar import allow_policies

__all__ = [
    "Bundle",
    "BundleTest",
    "Effect",
    "Layer",
    "Policy",
    "TestSubject",
    "belongs",
    "bundle_id",
    "parse_bundle",
    "parse_with_warnings",
]

FILE_MAX_CHARS = 2_000_000
FILES_MAX = 5_000
NOT_READ = ("README", "LICENSE", ".git", ".editorconfig")  # beginnings of names that may lie about


def belongs(path: str) -> bool:
    """Return whether a file at this relative path is read as a part of a bundle."""
    return (
        path == LIMEN_YAML_FILE
        or (path.endswith(NAMED_FILES) and not path.startswith(("policies/", "tests/")))
        or (path.startswith("policies/") and path.endswith(".cedar"))
        or (path.startswith("tests/") and path.endswith((".yaml", ".yml")))
    )


def parse_bundle(files: Mapping[str, str]) -> Bundle:
    """Parse a bundle's files, given as text by relative path with `/`.

    Raises:
        BundleRefused: with every error found, each with file, line, column and remedy.
    """
    return parse_with_warnings(files)[0]


def parse_with_warnings(files: Mapping[str, str]) -> tuple[Bundle, tuple[Finding, ...]]:
    """Parse as `parse_bundle` does, and return with it what is odd and still no error."""
    findings = _misplaced(files)
    texts = {path: _canonical(text) for path, text in sorted(files.items()) if belongs(path)}
    if LIMEN_YAML_FILE not in texts:
        findings.append(
            Finding(
                LIMEN_YAML_FILE,
                1,
                1,
                "missing-file",
                "The bundle has no limen.yaml.",
                "Start with `limen init`.",
            )
        )
        raise BundleRefused(tuple(sorted(findings)))
    reading = parse_limen_yaml(texts[LIMEN_YAML_FILE], texts)
    catalogue = reading.catalogue
    schema = cedar_schema(catalogue)
    parsed = cedar_files.parse_cedar_files(texts)
    sugar = allow_policies(catalogue, lambda *written: reading.at(*written[:2], "allow", written[2]))
    policies = (*parsed.policies, *sugar)
    tests, test_findings = parse_test_files(texts, catalogue, frozenset(policy.id for policy in policies))
    findings += [*reading.findings, *parsed.findings, *test_findings]
    mismatches = cedar_files.validate(parsed.policies, schema, parsed)
    if reading.findings:  # a declaration that could not be read may be what is missed
        mismatches = [finding for finding in mismatches if finding.id != "unknown-attribute"]
    findings += mismatches
    findings.sort()
    errors = tuple(finding for finding in findings if finding.severity is Severity.ERROR)
    if errors:
        raise BundleRefused(errors)
    kept = _kept(texts, reading.named_files)
    bundle = Bundle(bundle_id(kept), catalogue, policies, tests, kept, schema)
    return bundle, tuple(findings)


def bundle_id(files: Mapping[str, str]) -> BundleId:
    """Return the hash of a bundle's content: canonical text by path, lengths told (law B2)."""
    digest = hashlib.sha256(b"limen bundle 1\n")
    for path in sorted(files):
        for part in (path, _canonical(files[path])):
            content = part.encode()
            digest.update(f"{len(content)}:".encode() + content)
    return BundleId(digest.hexdigest())


def _canonical(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _kept(texts: Mapping[str, str], named: frozenset[str]) -> dict[str, str]:
    """Leave out certificates and the like that nothing names: they are no content of the bundle."""
    return {path: text for path, text in texts.items() if not path.endswith(NAMED_FILES) or path in named}


def _misplaced(files: Mapping[str, str]) -> list[Finding]:
    """Find files that look like policy and would not be read: silence here would be a hole."""
    findings = []
    for path, text in files.items():
        trouble = _trouble(path, text)
        if trouble is not None:
            findings.append(Finding(path, 1, 1, *trouble))
    if len(files) > FILES_MAX:
        said = f"There are {len(files)} files."
        findings.append(Finding("", 1, 1, "too-many-files", said, f"Keep a bundle to {FILES_MAX}."))
    return findings


def _trouble(path: str, text: str) -> tuple[str, str, str] | None:
    """Return id, message and remedy of what is wrong with a file as such."""
    if path.startswith("/") or ".." in path.split("/") or "\\" in path:
        return "file-path", "The path leads out of the bundle.", "Give paths inside its folder."
    if belongs(path):
        large = len(text) > FILE_MAX_CHARS
        return ("file-size", "The file is very large.", "Split it into several files.") if large else None
    unread = "The file would not be read."
    if path.endswith(".cedar"):
        return "misplaced-file", "A policy outside `policies/` is not read.", "Move it there."
    if path in ("limen.yml", "Limen.yaml"):
        return "misplaced-file", unread, "Rename it to `limen.yaml`."
    if path.startswith(("policies/", "tests/")) and not path.rsplit("/", 1)[-1].startswith(NOT_READ):
        wanted = ".cedar" if path.startswith("policies/") else ".yaml"
        return "misplaced-file", unread, f"Rename it to end in `{wanted}`, or move it away."
    return None
