"""The bounded map: what it forgets, and that threads may share it."""

from concurrent.futures import ThreadPoolExecutor

from limen.engine.bounded import Bounded


def test_what_was_used_least_recently_is_forgotten() -> None:
    kept: Bounded[str, int] = Bounded(2)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get("a") == 1
    kept.put("c", 3)
    assert [kept.get(key) for key in "abc"] == [1, None, 3]


def test_weights_bound_the_sum_and_the_newest_always_stays() -> None:
    kept: Bounded[str, int] = Bounded(10)
    kept.put("a", 1, weight=6)
    kept.put("b", 2, weight=5)
    assert (kept.get("a"), kept.get("b")) == (None, 2)
    kept.put("c", 3, weight=99)
    assert (len(kept), kept.get("c")) == (1, 3)


def test_a_value_that_is_put_again_replaces_the_old_one_and_its_weight() -> None:
    kept: Bounded[str, int] = Bounded(10)
    for value in range(50):
        kept.put("a", value, weight=6)
        kept.put("b", value, weight=4)
    assert (kept.get("a"), kept.get("b")) == (49, 49)


def test_threads_may_share_it() -> None:
    kept: Bounded[int, int] = Bounded(8)

    def work(seed: int) -> bool:
        for step in range(2000):
            key = (seed * 7 + step) % 16
            found = kept.get(key)
            if found is not None and found != key:
                return False
            kept.put(key, key)
        return len(kept) <= 8

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))
