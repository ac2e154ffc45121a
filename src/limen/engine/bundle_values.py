"""What a bundle is made of, as frozen values. `limen.engine.bundle` makes them from files."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from limen.core.catalogue import Catalogue
from limen.core.ids import BundleId

Effect = Literal["permit", "forbid"]
Layer = Literal["guardrail", "entitlement", "sugar", "template"]


class Policy(msgspec.Struct, frozen=True):
    """One Cedar policy of a bundle, alone, with its place in the files.

    Attributes:
        id: its `@id`; for sugar `allow:<app or service>:<kind>:<name>`.
        layer: `guardrail` for a forbid, `entitlement` for a permit, `sugar` for a permit that an
            `allow:` key of `limen.yaml` stands for.
        reason: its `@reason`, or a generated sentence for policies that have none.
        line, column: where it starts, counted from 1.
        cedar: its own text.
        est: Cedar's JSON form of it, annotations included.
    """

    id: str
    effect: Effect
    layer: Layer
    reason: str
    file: str
    line: int
    column: int
    cedar: str
    est: dict[str, Any]


class TestSubject(msgspec.Struct, frozen=True):
    """Who a bundle test asks for. Neither `user` nor `workload`: an employee with no name that matters."""

    __test__ = False  # not a pytest class

    user: str | None = None
    workload: str | None = None
    groups: tuple[str, ...] = ()
    kind: str = "employee"
    attributes: Mapping[str, Any] = {}
    anonymous: bool = False  # nobody is signed in


class BundleTest(msgspec.Struct, frozen=True):
    """One sentence of `tests/**/*.yaml`: this subject, this action, this resource: this answer, because.

    Attributes:
        resource: `app`, `app/route`, or `service`.
        context: overrides of the careful employee at work (`engine.bundle_tests.CAREFUL_EMPLOYEE`).
        because: ids of the determining policies, when the test names them.
        cure: ids of the remedies, when the test names them.
    """

    name: str
    subject: TestSubject
    action: str
    resource: str
    expect: Literal["allow", "deny"]
    context: Mapping[str, Any] = {}
    because: tuple[str, ...] | None = None
    cure: tuple[str, ...] | None = None
    file: str = ""
    line: int = 1
    column: int = 1


class Bundle(msgspec.Struct, frozen=True):
    """Everything of a bundle, parsed, validated against its schema, named by its content.

    Attributes:
        files: the text of each file, by path; enough to parse the bundle again.
        cedar_schema: the Cedar schema, in Cedar's own syntax.
    """

    id: BundleId
    catalogue: Catalogue
    policies: tuple[Policy, ...]
    tests: tuple[BundleTest, ...]
    files: Mapping[str, str]
    cedar_schema: str
