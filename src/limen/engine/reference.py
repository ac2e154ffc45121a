"""Reference pages and the JSON Schema file, rendered from the tables that the code reads.

`python -m limen.engine.reference` in the project's folder writes them anew; a test says when that is due.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from limen.core.catalogue import Catalogue
from limen.engine.bundle_test_files import CONTEXT, DEVICE, NETWORK, REMEDIES, SUBJECT, TEST
from limen.engine.cedar_files import ANNOTATIONS
from limen.engine.forms import Either, Form, Many, MapOf, Table, describe
from limen.engine.json_schema import json_schema
from limen.engine.limen_keys import HEADER_PRESETS, LIMEN_YAML
from limen.engine.lint_rules import RULES
from limen.engine.schema import cedar_schema

SCHEMA_FILE = Path("src/limen/engine/limen.schema.json")
LIMEN_YAML_PAGE = Path("docs/reference/limen-yaml.md")
LINT_PAGE = Path("docs/reference/lint.md")

_TOP = """\
# limen.yaml and the bundle

*Generated from the parser's own tables by `python -m limen.engine.reference`.*

A bundle is a folder in git:

| Path | Holds |
|---|---|
| `limen.yaml` | domain, apps, services, segments, identity providers |
| `policies/**/*.cedar` | policies; in `guardrails/` only `forbid`, in `entitlements/` only `permit` |
| `tests/**/*.yaml` | what must be allowed, what must be denied, and why |
| `*.pem`, `*.xml`, `*.json` | certificates, SAML metadata and key sets that `limen.yaml` names |

`limen init` writes one with comments. `limen policy check` says everything that is wrong with it at once,
each with file, line, column and what to do. Its id is the SHA-256 of these files' text by path, line ends
made equal, so the same content has the same id everywhere. A `.cedar` file elsewhere, or another file among
policies and tests, is an error: it would look like policy and be none.

The YAML is version 1.2 without aliases, tags and second documents. Unknown keys are errors with the nearest
known key; keys whose capability this release does not have are refused by name. For editors there is a
JSON Schema in the package, `limen/engine/limen.schema.json`.

```yaml
domain: corp.example
apps:
  wiki:
    upstream: http://127.0.0.1:9001
    allow: [group:staff]
services:
  ledger-db: {address: "db1.internal:5432", protocol: postgres, allow: [group:dba]}
```

Apps and services share one space of names, and of hosts: `wiki.corp.example`, `ledger-db.corp.example`.
A service is any TCP server; people reach it with `limen connect`, and policies see the action `connect`.
"""

_POLICIES = """\
## Policies

Cedar, one or more policies in a file. Annotations: {annotations}. Every policy has an `@id`, unique in the
bundle: decisions, tests and denial pages are told by it. A forbid's `@reason` is the sentence that a person
who is denied reads. Templates (`?principal`) are refused: time-bound grants use Limen's own.

Each entry of an app's `allow` is a permit for read and write, with an id such as `allow:wiki:group:staff`;
each entry of a service's is a permit to connect. `limen policy show` prints them.
A policy has at most 128 operators and 32 levels of brackets.

The schema, to which `attributes:` of `limen.yaml` are added:

```cedar
{schema}```

`context.session` is always there for a `User`. `aal` is NIST SP 800-63B's assurance level, 1 to 3; `hour`
(0 to 23) and `weekday` (1 is Monday) are in the bundle's time zone; `risk` is 0 to 100; `trust` is 0 unknown,
1 registered, 2 managed, 3 managed and attested. People who are suspended, ended or quarantined are denied
before any policy is asked. Limen itself is `App::"limen"`, with actions `read` and `admin`.

"""

_LINT_TOP = """\
# Lint

*Generated from the linter's own table by `python -m limen.engine.reference`.*

`limen policy check` and `limen policy apply` report these. An **error** is a finding behind which someone may
get in who should not, or nobody may mend it any more: it stops `apply`. A **warning** means that too much is
denied, or that something is untidy.

Whether a condition can be true is reasoned about, not tried out: a finding is a proof, and silence is none.
Worked out are constants, the catalogue (which app has which label and lies in which segment), contradictory
comparisons of one term with literals, and the guardrails whose scope takes in all of a permit's.

| Id | Severity | Finds |
|---|---|---|
"""


def render_limen_yaml() -> str:
    """Return the reference page of `limen.yaml`, policies and tests."""
    parts = [_TOP, "\n## Keys of limen.yaml\n\n", *_tables("", LIMEN_YAML)]
    parts.append("### Header presets\n\n| Preset | Headers |\n|---|---|\n")
    parts += [f"| `{name}` | {_listed(headers)} |\n" for name, headers in HEADER_PRESETS.items()]
    known = ", ".join(f"`@{name}`" for name in sorted(ANNOTATIONS))
    schema = cedar_schema(Catalogue(domain=""))
    parts.append("\n" + _POLICIES.format(annotations=known, schema=schema))
    parts.append("## Tests\n\nA list of sentences. What a test does not mention is as its default says.\n\n")
    for title, table in (
        ("A test", TEST),
        ("subject", SUBJECT),
        ("context", CONTEXT),
        ("context.device", DEVICE),
        ("context.network", NETWORK),
    ):
        parts.append(f"### {title}\n\n{_table(table)}\n")
    remedies = ", ".join(f"`{remedy}`" for remedy in sorted(REMEDIES))
    parts.append(f"Remedies that `cure` may name: {remedies}, and `posture:` with a posture check.\n")
    return "".join(parts)


def render_lint() -> str:
    """Return the page of lint rules, one section per id."""
    parts = [_LINT_TOP]
    parts += [f"| [`{rule.id}`](#{rule.id}) | {rule.severity} | {rule.title} |\n" for rule in RULES]
    for rule in RULES:
        fence = "cedar" if rule.example.startswith(("permit", "forbid", "@")) else "text"
        parts.append(
            f"\n## {rule.id}\n\n**{rule.title}** ({rule.severity}). {rule.why}\n\n"
            f"```{fence}\n{rule.example}\n```\n\n"
            f"- Sees: {rule.sees}\n- Does not see: {rule.blind}\n- Remedy: {rule.remedy}\n"
        )
    return "".join(parts)


def render_schema() -> str:
    """Return the JSON Schema file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


PAGES = {SCHEMA_FILE: render_schema, LIMEN_YAML_PAGE: render_limen_yaml, LINT_PAGE: render_lint}


def _tables(path: str, table: Table) -> Iterator[str]:
    if path:
        yield f"### {path}\n\n"
    yield _table(table) + "\n"
    for name, key in table.keys.items():
        inner, below = _inner(key.form)
        if inner is not None:
            yield from _tables(f"{path}.{name}{below}".lstrip("."), inner)


def _inner(form: Form) -> tuple[Table | None, str]:
    """Return the table that a key opens, and how its path goes on."""
    if isinstance(form, Table):
        return form, ""
    if isinstance(form, Either):
        return form.table, ""
    if isinstance(form, MapOf) and isinstance(form.value, Table):
        return form.value, ".NAME"
    if isinstance(form, Many) and isinstance(form.item, Table):
        return form.item, "[]"
    return None, ""


def _table(table: Table) -> str:
    rows = ["| Key | Value | What it does | Default |\n|---|---|---|---|\n"]
    for name, key in table.keys.items():
        default = "**required**" if key.required else key.default or "–"
        value = describe(key.form).replace("|", "\\|")
        rows.append(f"| `{name}` | {value} | {key.doc} | {default} |\n")
    if table.later:
        later = ", ".join(f"`{name}`" for name in table.later)
        rows.append(f"\nRefused by name until a release has them: {later}.\n")
    return "".join(rows)


def _listed(headers: Mapping[str, str]) -> str:
    return ", ".join(f"{field}: `{header}`" for field, header in headers.items())


def main() -> None:
    """Write every page below the current folder."""
    for path, render in PAGES.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(), "utf-8")


if __name__ == "__main__":
    main()
