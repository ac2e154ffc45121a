"""Pace: many streams that end at once are ended a few at a time, so that other requests go on between.

Telling Envoy that one stream ends costs the loop 0.1 to 0.2 ms. A thousand in one turn of the loop would
let everybody else wait for all of them, in this loop and then in Envoy's. So they go 16 at a time, with a
rest between: one person's streams end at once, a thousand within half a second.
"""

from collections import deque
from collections.abc import Callable

ENDED_PER_TURN = 16  # about 3 ms of the loop, the slice that re-assessment takes too
REST_S = 0.006  # between two turns: Envoy's workers serve others as well, and each end costs them as much

Work = Callable[[], None]


class Pace:
    """Runs at most `per_turn` pieces of work in a turn of the loop, in order, the first ones at once.

    Args:
        soon: runs something after a rest (`loop.call_later`).
    """

    def __init__(self, soon: Callable[[Work], object], *, per_turn: int = ENDED_PER_TURN) -> None:
        self._soon = soon
        self._per_turn = per_turn
        self._left = per_turn
        self._turning = False
        self._waiting: deque[Work] = deque()

    def run(self, work: Work) -> None:
        """Run `work` now or, when this turn has done its share, in one of the next."""
        if self._waiting or not self._left:
            self._waiting.append(work)
        else:
            self._left -= 1
            work()
        if not self._turning:
            self._turning = True
            self._soon(self._turn)

    def _turn(self) -> None:
        self._left = self._per_turn
        while self._waiting and self._left:
            self._left -= 1
            self._waiting.popleft()()
        self._turning = self._left < self._per_turn
        if self._turning:
            self._soon(self._turn)
