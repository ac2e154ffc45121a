"""Cedar text with places: single policies and their tokens, found without understanding them.

Cedar's parser, as Python sees it, says what is wrong but not where. Cedar's grammar has `;` only at the
end of a policy, `//` comments and `"` strings, so a small tokenizer can split a file; and because an LR
parser accepts every prefix that some policy begins with, the first prefix after which it stumbles over
something else than a `;` put behind it ends with the token at fault.
"""

import bisect
import re
from collections.abc import Callable, Iterator, Sequence

import msgspec

NESTING_MAX = 32  # brackets; cedarpy 4.12 overflows its stack, and ends the process, below 1,000
OPERATORS_MAX = 128  # operators or `if` in one policy; each is a level of the tree that everyone walks
CHAIN_MAX = 32  # accesses one after another, `a.b.c`

_TOKEN = re.compile(
    r"""
    (?P<blank>[\s\ufeff]+|//[^\n]*)
  | (?P<string>"(?:[^"\\]|\\.)*")
  | (?P<broken>")
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*|[0-9]+)
  | (?P<mark>::|==|!=|<=|>=|&&|\|\||.)
    """,
    re.VERBOSE | re.DOTALL,
)


class Token(msgspec.Struct, frozen=True):
    """A piece of Cedar text; `start` and `end` are offsets into the file."""

    kind: str  # string, broken, word, mark
    text: str
    start: int
    end: int


class PolicyText(msgspec.Struct, frozen=True):
    """One policy as written, annotations to semicolon. `ended` is False when the semicolon is missing."""

    text: str
    start: int
    tokens: tuple[Token, ...]
    ended: bool


class Places:
    """Turns offsets into lines and columns, both counted from 1."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def at(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset."""
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


def tokens(text: str) -> Iterator[Token]:
    """Yield every token that is neither blank nor comment."""
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind != "blank":
            yield Token(kind, match.group(), match.start(), match.end())


def split_policies(text: str) -> tuple[PolicyText, ...]:
    """Split a file into its policies. What follows the last semicolon is one that is not ended."""
    found: list[PolicyText] = []
    held: list[Token] = []
    for token in tokens(text):
        held.append(token)
        if token.text == ";" and token.kind == "mark":
            found.append(_policy_text(text, held, ended=True))
            held = []
    if held:
        found.append(_policy_text(text, held, ended=False))
    return tuple(found)


def too_deep(policy: PolicyText) -> int | None:
    """Return the offset where a policy nests deeper than may be handed to Cedar's parser, or None."""
    depth = operators = chain = 0
    for token in policy.tokens:
        if token.kind == "string":
            continue
        if token.text in ("(", "[", "{"):
            depth += 1
        elif token.text in (")", "]", "}"):
            depth -= 1
        elif token.text == ".":
            chain += 1
        elif token.kind == "mark" or token.text in ("if", "has", "in", "is", "like"):
            operators += token.text in ("&&", "||", "+", "-", "*", "!", "if")
            chain = 0
        if depth > NESTING_MAX or operators > OPERATORS_MAX or chain > CHAIN_MAX:
            return token.start
    return None


def error_offset(policy: PolicyText, problem: Callable[[str], str | None]) -> int:
    """Return the offset in the file of what Cedar's parser stumbles over.

    `problem` parses text and returns Cedar's message, or None when it parses. An error that only a
    whole policy shows is placed where its message points, else at the policy's start.
    """
    broken = next((token for token in policy.tokens if token.kind == "broken"), None)
    if broken is not None:
        return broken.start
    inner = policy.tokens[:-1] if policy.ended else policy.tokens

    def stumbles(count: int) -> bool:
        message = problem(policy.text[: inner[count - 1].end - policy.start] + "\n;")
        return message is not None and "unexpected token `;`" not in message

    first = bisect.bisect_left(range(1, len(inner) + 1), True, key=stumbles)
    message = problem(policy.text + ("" if policy.ended else "\n;"))
    if message is not None and "unexpected token" not in message and "invalid token" not in message:
        return _named_offset(policy, message)
    return policy.tokens[min(first, len(policy.tokens) - 1)].start


def _named_offset(policy: PolicyText, message: str) -> int:
    """Return where the word stands that a message ends with or quotes."""
    quoted = re.findall(r"`([^`]+)`", message) or [message.rsplit(": ", 1)[-1].lstrip("@")]
    for token in policy.tokens:
        if token.text in quoted or (token.kind == "string" and any(part in token.text for part in quoted)):
            return token.start
    numbers = (token.start for token in policy.tokens if token.text.isdigit() and len(token.text) > 18)
    return next(numbers, policy.start)


def find_access(policy: PolicyText, dotted: str) -> int | None:
    """Return the offset where `dotted` (such as `context.device`) is first read, if it is."""
    wanted = [token.text for token in tokens(dotted)]
    texts = [token.text for token in policy.tokens]
    for index in range(len(texts) - len(wanted) + 1):
        if texts[index : index + len(wanted)] == wanted:
            return policy.tokens[index].start
    return None


def quote(text: str) -> str:
    """Return `text` as a Cedar string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[^ -~]", lambda match: f"\\u{{{ord(match.group()):x}}}", escaped) + '"'


def _policy_text(text: str, held: Sequence[Token], *, ended: bool) -> PolicyText:
    start, end = held[0].start, held[-1].end
    return PolicyText(text[start:end], start, tuple(held), ended)
