"""A brain as its host sees it: heard, given input, killed when silent; nobody waits for it (law H3).

The brains here are small programs that speak the protocol, in real processes.
"""

import asyncio
import textwrap
import time
from collections.abc import Awaitable, Callable

from limen.services import gateway_slot
from limen.services.gateway_slot import Phase, Slot
from limen.services.gateway_words import Activate, Alone, Beat, EnvoyIs, Retire, Standing, Word

BRAIN = """
import json, os, socket, sys, threading, time
host = socket.socket(fileno=int(os.environ["LIMEN_HOST_FD"]))
lines = host.makefile("r")
def say(kind, **more): host.sendall(json.dumps({"type": kind, **more}).encode() + b"\\n")
def beat(n=0): say("beat", streams=n, confirmed=True)
def beat_on():
    while True:
        beat(); time.sleep(0.05)
"""
BEATING = 'beat(); say("standing", release="1"); threading.Thread(target=beat_on, daemon=True).start()\n'


def brain(program: str) -> tuple[str, str]:
    return "-c", BRAIN + textwrap.dedent(program)


def run(slot: Slot, story: Callable[[], Awaitable[None]]) -> None:
    async def inside() -> None:
        slot.start()
        try:
            async with asyncio.timeout(30):
                await story()
        finally:
            await slot.stop()

    asyncio.run(inside())


def test_words_make_its_phase_and_orders_reach_it() -> None:
    program = """
    beat(7)
    say("standing", release="9.9")
    order = json.loads(lines.readline())
    say("sing", song="of another release")
    say("serving") if order["type"] == "activate" and order["since"] == 5 else say("refused", why="no")
    sys.stdin.read()
    """
    slot = Slot("a", brain(program))
    heard: list[Word | None] = []
    slot.on_word = lambda _slot, word: heard.append(word)

    async def story() -> None:
        assert await slot.until(lambda found: found.phase is Phase.STANDING, 20)
        assert (slot.release, slot.streams, slot.confirmed) == ("9.9", 7, True)
        slot.tell(Activate(5))
        assert await slot.until(lambda found: found.phase is Phase.SERVING, 20)
        slot.tell(Retire(0))
        slot.close_input()
        assert await slot.until(lambda found: found.phase is Phase.ENDED, 20)
        await slot.ended()
        assert slot.restarts == 0, "one that retires is not started again"

    run(slot, story)
    assert [type(word) for word in heard[:2]] == [Beat, Standing]
    assert heard[-1] is None


def test_h3_a_brain_that_is_silent_is_killed_and_started_again() -> None:
    slot = Slot("a", brain('beat(); say("standing", release="1"); time.sleep(60)'), beat_max_s=0.3)

    async def story() -> None:
        assert await slot.until(lambda found: found.phase is Phase.STANDING, 20)
        first = slot.pid
        assert await slot.until(lambda found: found.phase is Phase.ENDED, 5)
        assert await slot.until(lambda found: found.phase is Phase.STANDING, 20)
        assert slot.pid != first
        assert slot.restarts == 1

    run(slot, story)


def test_a_host_that_stood_still_itself_kills_nobody() -> None:
    slot = Slot("a", brain(BEATING + "sys.stdin.read()"), beat_max_s=0.5)

    async def story() -> None:
        assert await slot.until(lambda found: found.phase is Phase.STANDING, 20)
        first = slot.pid
        stand_still(0.5 + gateway_slot.LATE_S + 0.5)
        await asyncio.sleep(0)
        assert not await slot.until(lambda found: found.phase is Phase.ENDED, 1.0)
        assert slot.pid == first

    run(slot, story)


def stand_still(seconds: float) -> None:
    time.sleep(seconds)


def test_h3_a_brain_that_does_not_read_costs_nobody_time_and_is_told_what_it_lost() -> None:
    program = """
    beat()
    say("standing", release="1")
    while (order := json.loads(lines.readline()))["type"] != "lost":
        pass
    say("refused", why=str(order["lines"]))
    time.sleep(60)
    """
    slot = Slot("a", brain(program))
    chunk = b"x" * 99 + b"\n"

    async def story() -> None:
        assert await slot.until(lambda found: found.phase is Phase.STANDING, 20)
        began = time.monotonic()
        for _ in range(2 * gateway_slot.INPUT_MAX_BYTES // 100_000):
            slot.copy(chunk * 1000)
        assert time.monotonic() - began < 1
        assert await slot.until(lambda found: bool(found.refusal), 20)
        assert int(slot.refusal) == 1000
        for _ in range(20_000):  # orders, too
            slot.tell(EnvoyIs(running=True, pid=1, restarts=0))
        assert time.monotonic() - began < 10

    run(slot, story)


def test_what_nobody_is_there_to_hear_is_no_error() -> None:
    async def story() -> None:
        slot = Slot("a", brain("pass"))
        slot.tell(Alone())
        slot.copy(b"line\n")
        slot.close_input()
        assert slot.pid is None

    asyncio.run(story())
