"""Edits of a bundle's text that leave everything else as somebody wrote it: permits removed or narrowed."""

import difflib
import re
from collections.abc import Iterable, Mapping

from limen.engine.bundle_values import Bundle, Policy
from limen.engine.cedar_text import PolicyText, Token, split_policies

_ENTRY = re.compile(r"""(?P<quote>["']?)(?P<entry>[a-z]+:[^\s,\]"'#]+)(?P=quote)""")


def remove_policies(bundle: Bundle, ids: Iterable[str]) -> dict[str, str]:
    """Return the bundle's files without these permits: Cedar's text, or the entry of an `allow:`.

    Raises:
        ValueError: a policy stands in the text in a way that is not understood; nothing is guessed.
    """
    files = dict(bundle.files)
    gone = [policy for policy in bundle.policies if policy.id in set(ids)]
    for policy in sorted(gone, key=lambda one: (one.file, one.line, one.column), reverse=True):
        edit = _without_entry if policy.layer == "sugar" else _without_policy
        files[policy.file] = edit(files[policy.file], policy)
    return files


def narrow_policy(files: Mapping[str, str], policy: Policy, actions: Iterable[str]) -> dict[str, str]:
    """Return the files with the action scope of one permit narrowed to `actions`.

    Raises:
        ValueError: its scope is not found.
    """
    text = files[policy.file]
    start, end = _action_scope(_find(text, policy))
    listed = ", ".join(f'Action::"{action}"' for action in sorted(actions))
    return {**files, policy.file: f"{text[:start]}action in [{listed}]{text[end:]}"}


def unified_diff(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return the difference of two bundles' files, as `diff -u` writes it."""
    parts: list[str] = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, ""), after.get(name, "")
        if old != new:
            lines = difflib.unified_diff(
                old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{name}", f"b/{name}"
            )
            parts.extend(line if line.endswith("\n") else f"{line}\n" for line in lines)
    return "".join(parts)


# --- Cedar -----------------------------------------------------------------------------------------


def _find(text: str, policy: Policy) -> PolicyText:
    for found in split_policies(text):
        if found.text == policy.cedar:
            return found
    raise ValueError(f"the policy {policy.id} is not in {policy.file} as it was read")


def _without_policy(text: str, policy: Policy) -> str:
    found = _find(text, policy)
    end = found.tokens[-1].end
    before, after = text[: found.start].rstrip(), text[end:].lstrip("\n")
    return "\n\n".join(part for part in (before, after) if part.strip()).rstrip() + "\n"


def _action_scope(policy: PolicyText) -> tuple[int, int]:
    """Return where the second part of the scope `(principal, action, resource)` starts and ends."""
    depth, commas = 0, []
    opened: Token | None = None
    for token in policy.tokens:
        if token.kind == "string":
            continue
        if token.text in ("(", "["):
            depth += 1
            opened = opened or (token if token.text == "(" and _is_scope(policy, token) else None)
            if opened is token:
                depth = 1
        elif token.text in (")", "]"):
            depth -= 1
        elif token.text == "," and opened is not None and depth == 1:
            commas.append(token)
            if len(commas) == 2:
                break
    if len(commas) < 2:
        raise ValueError("the policy's scope is not found")
    inside = [t for t in policy.tokens if commas[0].end <= t.start < commas[1].start]
    return inside[0].start, inside[-1].end


def _is_scope(policy: PolicyText, token: Token) -> bool:
    """Whether a bracket is that of the scope: it follows the word `permit` or `forbid`."""
    place = policy.tokens.index(token)
    return place > 0 and policy.tokens[place - 1].text in ("permit", "forbid")


# --- `allow:` of limen.yaml ------------------------------------------------------------------------


def _without_entry(text: str, policy: Policy) -> str:
    """Remove one entry of an `allow:`: of a list in one line, of a list in lines, or the only one."""
    lines = text.splitlines(keepends=True)
    line = lines[policy.line - 1]
    start = policy.column - 1
    found = _ENTRY.match(line, start)
    entry = policy.id.split(":", 2)[2]
    if found is None or found["entry"] != entry:
        raise ValueError(f"the entry {entry} is not at {policy.file}:{policy.line}:{policy.column}")
    before, after = line[:start], line[found.end() :]
    if before.strip() == "-" and not after.split("#")[0].strip():
        lines[policy.line - 1] = ""
        above, below = lines[policy.line - 2], lines[policy.line] if policy.line < len(lines) else ""
        if re.search(r"allow:\s*(#.*)?$", above) and not below.strip().startswith("-"):
            lines[policy.line - 2] = above.replace("allow:", "allow: []", 1)  # it was the only one
        return "".join(lines)
    if before.rstrip().endswith(("[", ",")):
        stripped = after.lstrip()
        if stripped.startswith(","):
            after = stripped[1:].lstrip(" ")
        elif before.rstrip().endswith(","):
            before = before.rstrip()[:-1]
        lines[policy.line - 1] = before + after
        return "".join(lines)
    if re.search(r"allow:\s*$", before):
        lines[policy.line - 1] = f"{before}[]{after}"
        return "".join(lines)
    raise ValueError(f"the list around {policy.file}:{policy.line} is written in a way that is not edited")
