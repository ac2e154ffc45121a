"""The few errors of Limen. Each has a stable code, a sentence, and a remedy for the reader."""

from enum import StrEnum

import msgspec


class LimenError(Exception):
    """Broken or hostile input, or a part that is not there.

    Attributes:
        code: stable, upper-case, listed in the reference (`BUNDLE_INVALID`).
        message: one sentence that says what is wrong and names the field. Never holds a secret.
        remedy: one sentence that says what to do next.
    """

    code = "ERROR"

    def __init__(self, message: str, *, remedy: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        if code is not None:
            self.code = code


class NotFound(LimenError):
    """The thing named does not exist."""

    code = "NOT_FOUND"


class Conflict(LimenError):
    """The thing exists already, or changed meanwhile."""

    code = "CONFLICT"


class Invalid(LimenError):
    """A value does not have the form that its field demands."""

    code = "INVALID"


class Refused(LimenError):
    """Understood, and not allowed."""

    code = "REFUSED"


class Unavailable(LimenError):
    """A part that is needed does not answer."""

    code = "UNAVAILABLE"


class Severity(StrEnum):
    """How much a finding weighs: an error stops `apply`, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


class Finding(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong in what a user wrote, and where. `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    id: str
    message: str
    remedy: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.severity} {self.id}: {self.message} {self.remedy}"


class BundleRefused(LimenError):
    """A bundle that cannot be used; `findings` says everything that is wrong with it at once."""

    code = "BUNDLE_INVALID"

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        first = findings[0]
        more = f" ({len(findings) - 1} more)" if len(findings) > 1 else ""
        super().__init__(
            f"{first.file}:{first.line}:{first.column}: {first.message}{more}", remedy=first.remedy
        )
        self.findings = findings
