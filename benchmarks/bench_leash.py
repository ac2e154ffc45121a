"""What the leash costs: memory of idle streams, opening them, ending one, ending all.

The leash runs in a process of its own; this one plays Envoy over several connections, as its workers
do. Engine, journal and replica are fakes, so the figures are those of holding streams, not of deciding.

Usage: `python benchmarks/bench_leash.py [streams]`
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "kit"))

import uvloop
from check_world import connect
from leash_rig import OPERATOR, Call, FakeEnvoy, LeashWorld, http_headers

CONNECTIONS = 2
CUT_ONE = 200  # times


async def serve(folder: Path) -> None:
    """Be the leash: tell the tokens, then obey one command a line on standard input."""
    world = LeashWorld(folder)
    async with world.served():
        people = [world.sign_in_other(f"p{n}", f"s{n}") for n in range(200)]
        print(" ".join(people), flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := (await reader.readline()).decode().strip():
            world.engine.asked.clear()
            world.journal.records.clear()
            if line == "rss":
                print(_rss_kb(), flush=True)
            elif line == "all":
                began = time.perf_counter()
                world.leash.end_all(OPERATOR)
                ordered = time.perf_counter() - began
                await world.leash.empty()
                print(round(ordered * 1_000), round((time.perf_counter() - began) * 1_000), flush=True)
            else:
                world.streams.end(line, OPERATOR)


def _rss_kb() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError


async def _open(envoys: list[FakeEnvoy], tokens: list[str], count: int) -> list[Call]:
    calls = []
    for n in range(count):
        call = envoys[n % CONNECTIONS].begin()
        await call.say(request_headers=http_headers(connect(token=tokens[n % len(tokens)])))
        calls.append(call)
    for call in calls:
        await call.hear()
        await call.app_answers()
    return calls


async def measure(streams: int) -> None:
    """Drive the leash and print the figures."""
    with tempfile.TemporaryDirectory(prefix="lm") as name:
        leash = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, __file__, "--serve", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert leash.stdin is not None and leash.stdout is not None

        def say(line: str) -> None:
            assert leash.stdin is not None
            leash.stdin.write(line + "\n")
            leash.stdin.flush()

        def rss() -> int:
            say("rss")
            assert leash.stdout is not None
            return int(leash.stdout.readline())

        tokens = leash.stdout.readline().split()
        envoys = [FakeEnvoy(Path(name) / "leash.sock") for _ in range(CONNECTIONS)]
        for call in await _open(envoys, tokens, 200):
            call.abandon()  # whatever is made once is made
        await asyncio.sleep(1)
        before = rss()
        began = time.perf_counter()
        calls = await _open(envoys, tokens, streams)
        took = time.perf_counter() - began
        await asyncio.sleep(1)
        print(f"{streams} streams opened in {took:.2f} s (this client's share included)")
        print(f"{(rss() - before) / streams:.1f} kB of the leash's memory each")
        took_ms = []
        for call in calls[:CUT_ONE]:
            began = time.perf_counter()
            say(call.id)
            await call.ended()
            took_ms.append((time.perf_counter() - began) * 1_000)
        print(f"one ended in {median(took_ms):.2f} ms at the median, {max(took_ms):.2f} ms at most")
        began = time.perf_counter()
        say("all")
        for call in calls[CUT_ONE:]:
            await call.ended()
        all_ms = (time.perf_counter() - began) * 1_000
        ordered_ms, told_ms = leash.stdout.readline().split()
        print(
            f"{len(calls) - CUT_ONE} ended: ordered in {ordered_ms} ms, Envoy told in {told_ms} ms, "
            f"heard by this client in {all_ms:.0f} ms"
        )
        for envoy in envoys:
            await envoy.close()
        leash.stdin.close()
        leash.wait(20)


def main(*, quick: bool = False) -> None:
    """Print the figures."""
    uvloop.run(measure(1_000 if quick else 5_000))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        uvloop.run(serve(Path(sys.argv[2])))
    else:
        uvloop.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000))
