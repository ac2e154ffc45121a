"""The explaining process: finds what would cure a denial, so that the check need not stop for it.

Run as `python -m limen.enforcement.check.explain_worker`. It reads questions from standard input, and
ends when that ends: it cannot outlive the gateway.
"""

import os
import sys
from typing import BinaryIO

import structlog

from limen.administrator.active import load_bundle
from limen.core.changes import BundleFact
from limen.core.decision import Explanation
from limen.enforcement.check.explain_wire import PREFIX, Explained, Question, parse_question, render_frame
from limen.engine.explain import explain
from limen.engine.policies import Policies

NICENESS = 10  # requests go before explanations

log = structlog.get_logger("limen.explain")


class Worker:
    """Answers questions under the bundle that it was last given."""

    def __init__(self) -> None:
        self._bundle_id = ""
        self._policies: Policies | None = None

    def answer(self, question: Question) -> Explained:
        """Explain one denial."""
        try:
            return Explained(question.n, self._explain(question))
        except Exception:
            # One question that cannot be answered must not take the answers of others with it.
            log.exception("explain.failed")
            return Explained(question.n)

    def _explain(self, question: Question) -> Explanation | None:
        if question.files is not None:
            fact = BundleFact("active", question.bundle_id, question.files)
            self._policies, self._bundle_id = load_bundle(fact).policies, question.bundle_id
        if self._policies is None or question.bundle_id != self._bundle_id:
            return None
        return explain(question.request, question.facts, self._policies)


def run(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer until `questions` ends."""
    worker = Worker()
    while len(prefix := questions.read(PREFIX.size)) == PREFIX.size:
        (size,) = PREFIX.unpack(prefix)
        answers.write(render_frame(worker.answer(parse_question(questions.read(size)))))
        answers.flush()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    os.nice(NICENESS)
    run(sys.stdin.buffer, sys.stdout.buffer)
