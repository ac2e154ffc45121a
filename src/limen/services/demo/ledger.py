"""The ledger: a service that is no web app, to be reached with `limen connect ledger`. One line, one answer.

It stands for the database that one already has: it knows nobody, and relies on not being reachable by others.
"""

import threading
from contextlib import suppress
from socketserver import StreamRequestHandler, ThreadingTCPServer

from limen.services.demo.web import LoopbackServer

LINE_BYTES_MAX = 200
ENTRIES = (("opening balance", 12_000), ("coffee beans", -180), ("sold: one espresso machine", 640))
"""What it begins with: text, and euro. All of it made up."""

HELLO = "The office ledger. Say: list, balance, add AMOUNT TEXT, or quit."
_AMOUNT_MAX = 1_000_000
_ENTRIES_MAX = 1_000


class Ledger:
    """What the lines are about, in memory."""

    def __init__(self) -> None:
        self._entries = list(ENTRIES)
        self._lock = threading.Lock()

    def answer(self, line: str) -> str | None:
        """Answer one line; None ends the conversation."""
        with self._lock:
            match line.split(maxsplit=2):
                case []:
                    return HELLO
                case ["quit"]:
                    return None
                case ["balance"]:
                    return f"{sum(amount for _, amount in self._entries)} EUR"
                case ["list"]:
                    return "\n".join(f"{amount:>8} EUR  {text}" for text, amount in self._entries)
                case ["add", amount, text] if _is_amount(amount):
                    self._entries = [*self._entries, (text, int(amount))][-_ENTRIES_MAX:]
                    return f"Noted: {int(amount)} EUR, {text}"
        return f"Not understood. {HELLO}"


def _is_amount(text: str) -> bool:
    digits = text.removeprefix("-")
    return (
        digits.isascii()
        and digits.isdigit()
        and int(digits[:9]) <= _AMOUNT_MAX
        and len(digits) <= len(str(_AMOUNT_MAX))
    )


class LedgerServer(LoopbackServer):
    """The ledger."""

    def __init__(self) -> None:
        super().__init__(ThreadingTCPServer(("127.0.0.1", 0), _line_handler(Ledger())))


def _line_handler(ledger: Ledger) -> type[StreamRequestHandler]:
    class Lines(StreamRequestHandler):
        def handle(self) -> None:
            answer: str | None = HELLO
            with suppress(ConnectionError):  # whoever is connected may be cut at any time
                while answer is not None:
                    self.wfile.write(f"{answer}\n".encode())
                    line = self.rfile.readline(LINE_BYTES_MAX)
                    answer = ledger.answer(line.decode("utf-8", "replace")) if line else None

    return Lines
