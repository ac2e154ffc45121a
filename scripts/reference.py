"""Generate the reference pages that code already knows: commands, codes, admin API, metrics, OCSF.

`--check` writes nothing and fails when a page is not current, so that docs cannot drift from code.
"""

import ast
import sys
from pathlib import Path
from typing import Any

import click
import typer

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "reference"


def main() -> int:
    """Write or check each page."""
    pages = {
        "cli.md": cli_page(),
        "codes.md": codes_page(),
        "admin-api.md": admin_page(),
        "metrics.md": metrics_page(),
        "ocsf.md": ocsf_page(),
    }
    stale = [name for name, text in pages.items() if _read(PAGES / name) != text]
    if "--check" in sys.argv:
        for name in stale:
            print(f"docs/reference/{name} is not current. Run: python scripts/reference.py", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (PAGES / name).write_text(pages[name], "utf-8")
        print(f"wrote docs/reference/{name}")
    return 0


def cli_page() -> str:
    """Every command with its help and options."""
    from limen.cli.main import app

    lines = ["# Commands", "", "Generated from the program. `limen COMMAND --help` says the same.", ""]
    group = typer.main.get_command(app)
    assert hasattr(group, "commands")
    for path, command in sorted(_commands(("limen",), group)):
        lines += [f"## {' '.join(path)}", "", (command.help or "").strip(), ""]
        rows = [
            _parameter(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)
        ]
        rows = [row for row in rows if row]
        if rows:
            lines += ["| | |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _commands(path: tuple[str, ...], command: click.Command) -> list[tuple[tuple[str, ...], click.Command]]:
    if not hasattr(command, "commands"):
        return [(path, command)]
    return [found for name, part in command.commands.items() for found in _commands((*path, name), part)]


def _parameter(parameter: click.Parameter) -> str:
    if parameter.param_type_name == "argument":
        return f"| `{(parameter.name or '').upper()}` | {getattr(parameter, 'help', None) or 'required'} |"
    if "--help" in parameter.opts:
        return ""
    names = " ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return f"| {names} | {getattr(parameter, 'help', '') or ''} |"


CURES = {
    "GROUPS_UNKNOWN": "let SCIM, LDAP or the provider's endpoint list them (`groups_from`); sign in again",
    "PROOF_FAILED": "401: send a DPoP proof by that key, or call the port for machines with that certificate",
}
"""What to do about codes that neither a policy nor a sign-in cures."""


def codes_page() -> str:
    """Every decision code, and every error code with the class that raises it."""
    from limen.core.decision import ENGINE_CODES, Code

    source = (ROOT / "src/limen/core/decision.py").read_text("utf-8")
    notes = _comments(source, "Code")
    lines = ["# Codes", "", "Generated from the program.", "", "## Decisions", ""]
    lines += ["| Code | | |", "|---|---|---|"]
    for code in Code:
        kind = "outage: 503, in every mode" if code in ENGINE_CODES else CURES.get(code.name, "")
        lines.append(f"| `{code}` | {notes.get(code.name, '')} | {kind} |")
    lines += ["", "## Errors", "", "| Code | Where |", "|---|---|"]
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "src/limen").rglob("*.py")):
        for code_name in _error_codes(path):
            found.setdefault(code_name, set()).add(
                ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
            )
    lines += [
        f"| `{code_name}` | {', '.join(f'`{m}`' for m in sorted(found[code_name]))} |"
        for code_name in sorted(found)
    ]
    return "\n".join([*lines, ""])


def _comments(source: str, name: str) -> dict[str, str]:
    inside, notes = False, {}
    for line in source.splitlines():
        if line.startswith("class "):
            inside = line.startswith(f"class {name}(")
        if inside and " = " in line and "#" in line:
            notes[line.split("=")[0].strip()] = line.split("#", 1)[1].strip()
    return notes


def _error_codes(path: Path) -> set[str]:
    codes: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
            codes.add(str(node.value.value))
        if isinstance(node, ast.ClassDef):
            codes |= {
                str(part.value.value)
                for part in node.body
                if isinstance(part, ast.Assign)
                and isinstance(part.value, ast.Constant)
                and any(isinstance(target, ast.Name) and target.id == "code" for target in part.targets)
            }
    return {code for code in codes if code.isupper()}


def admin_page() -> str:
    """Every operation of the admin API."""
    from limen.api.admin import describe

    schema = describe()
    lines = [
        "# Admin API",
        "",
        "Generated from the program. It answers on `STATE/run/admin.sock`, to the user who",
    ]
    lines += ["runs Limen and to root; `GET /openapi.json` has the schemas. Every call is a decision on"]
    lines += [
        '`App::"limen"`, recorded like any other. From elsewhere most of it answers below `/api` of the',
        "sign-in host, to the bearer token of a workload or of `limen login`. A call that touches somebody",
        'who has a role of Limen is decided on `Route::"limen/roles"` besides.',
        "",
        "```sh",
    ]
    lines += ["curl --unix-socket .limen/run/admin.sock http://limen/v1/status", "```", ""]
    lines += ["| | | Decided as |", "|---|---|---|"]
    for path, operations in sorted(schema["paths"].items()):
        for method, operation in sorted(operations.items()):
            decided = operation.get("x-limen-decision", "")
            lines.append(f"| `{method.upper()} {path}` | {operation.get('summary', '')} | {decided} |")
    return "\n".join([*lines, ""])


def metrics_page() -> str:
    """Every metric, read from the calls and tables that make them."""
    rows = set()
    for path in sorted((ROOT / "src/limen").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            rows.update(_metrics(node))
    lines = [
        "# Metrics",
        "",
        "Generated from the program. Each process answers `GET /metrics` on its Unix socket",
    ]
    lines += [
        "(`run/admin.sock`, `run/gateway.sock`), and on TCP with `--metrics HOST:PORT`; `/healthz` says"
    ]
    lines += ["that it lives, `/readyz` that it would serve.", "", "| Metric | Kind | |", "|---|---|---|"]
    return "\n".join([*lines, *sorted(rows), ""])


def _metrics(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
        kind = node.func.id.removesuffix("MetricFamily").lower()
        texts = [part.value for part in node.args if isinstance(part, ast.Constant)]
        if kind in ("counter", "gauge", "histogram") and str(texts[:1]).startswith("['limen_"):
            return [f"| `{texts[0]}` | {kind} | {texts[1] if len(texts) > 1 else ''} |"]
    if isinstance(node, ast.Dict):  # tables of gauges: name to (text, how it is read)
        return [
            f"| `{key.value}` | gauge | {value.elts[0].value} |"
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant)
            and str(key.value).startswith("limen_")
            and isinstance(value, ast.Tuple)
            and isinstance(value.elts[0], ast.Constant)
        ]
    if isinstance(node, ast.DictComp) and isinstance(node.value, ast.Call) and node.value.args:
        return _family(node.value.args[0], node.generators[0].iter)
    return []


def _family(name: ast.expr, table: ast.expr) -> list[str]:
    """Read counters that a comprehension makes of one f-string and a literal table of names and texts."""
    start = name.values[0] if isinstance(name, ast.JoinedStr) else None
    if not isinstance(start, ast.Constant) or not str(start.value).startswith("limen_"):
        return []
    return [f"| `{start.value!s}{end}` | counter | {text} |" for end, text in ast.literal_eval(table)]


OCSF_DECISIONS = (
    ("a request to an app, allowed", {"resource": 'App::"wiki"', "verdict": "allow"}),
    ("the same, denied", {"resource": 'App::"wiki"', "verdict": "deny"}),
    (
        "the same, let through by a mode",
        {"resource": 'App::"wiki"', "verdict": "allow", "would_be": "deny"},
    ),
    ("a service, opened", {"resource": 'Service::"db"', "verdict": "allow", "method": "CONNECT"}),
    ("a service, refused", {"resource": 'Service::"db"', "verdict": "deny", "method": "CONNECT"}),
    (
        "a live stream that is open no more",
        {"resource": 'App::"wiki"', "verdict": "deny", "point": "reassess"},
    ),
    (
        "a call of the admin API",
        {"resource": 'Route::"limen/people"', "verdict": "allow", "point": "admin-api"},
    ),
)


def ocsf_page() -> str:
    """Which OCSF class each record becomes: rendered from samples, and from the table of kinds."""
    from limen.journal.export.kinds import FAMILIES, KINDS
    from limen.journal.export.ocsf import render_ocsf
    from limen.journal.export.ocsf_classes import OCSF_VERSION
    from limen.journal.export.rows import Row

    lines = [
        "# OCSF",
        "",
        "Generated from the program. `limen audit export --format ocsf` and live sinks write",
    ]
    lines += [
        f"events of OCSF {OCSF_VERSION}; each is checked against its schema in tests. What the schema has no"
    ]
    lines += ["member for stands in `unmapped`; `metadata.uid` is the record's place in the journal."]
    lines += [
        "",
        "## Decisions",
        "",
        "| Decision | Class | Activity | Action | Disposition |",
        "|---|---|---|---|---|",
    ]
    for what, fields in OCSF_DECISIONS:
        common = {"type": "decision", "id": "0", "at": 0.0, "method": "GET", "code": "PERMITTED"}
        event = render_ocsf(Row("gateway", "1", 0, {**common, **fields}))
        names = ("activity_name", "action", "disposition")
        shown = " | ".join(str(event.get(name, "")) for name in names)
        lines.append(f"| {what} | {event['class_name']} ({event['class_uid']}) | {shown} |")
    lines += [
        "",
        "The policies that determined it are `authorizations`, the code is `status_code`. Status and bytes",
    ]
    lines += [
        "come with the decision, or, when they were written too late, as an HTTP Activity of their own whose"
    ]
    lines += ["`metadata.correlation_uid` is the decision's id.", "", "## Events", ""]
    lines += ["| Kind | Class | Activity | Severity | Status |", "|---|---|---|---|---|"]
    lines += [_kind_row(f"`{kind}`", shape) for kind, shape in sorted(KINDS.items())]
    lines += [_kind_row(f"other `{family}.…`", shape) for family, shape in sorted(FAMILIES.items())]
    lines += [
        "",
        "A kind of no family that is named here is Entity Management, Other. A grant to a group is Group",
    ]
    return "\n".join([*lines, "Management.", ""])


def _kind_row(kind: str, shape: Any) -> str:
    from limen.journal.export.ocsf_values import SEVERITIES

    severity = SEVERITIES[shape.severity].lower()
    status = "failure" if shape.failed else "success"
    what = f"{shape.ocsf.caption} ({shape.ocsf.uid}) | {shape.activity.name}"
    return f"| {kind} | {what} | {severity} | {status} |"


def _read(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
