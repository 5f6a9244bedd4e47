import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxswarm.swarm.codec import Reason, RefusedError
from jaxswarm.swarm.config import Limits
from jaxswarm.swarm.shelf import SWEEP_S, Shelf

pytestmark = pytest.mark.faults

LIMITS = Limits(
    max_kept=4, max_kept_bytes=10_000, max_kept_bytes_in_all=40_000, max_members=3, place_s=10.0
)


def is_taken(shelf: Shelf, key: str, owner: str, now: float, size: int = 10, ttl_s: float = 60.0):
    """Whether it was taken, or the reason for which it was refused."""
    try:
        return shelf.take(key.encode(), owner.encode(), b"x" * size, now + ttl_s, now)
    except RefusedError as error:
        return error.reason


def owners(shelf: Shelf, key: str, now: float) -> set[str]:
    return {owner.decode() for owner in shelf.get(key.encode(), now)}


def test_a_record_is_kept_until_it_expires_and_no_longer() -> None:
    shelf = Shelf(LIMITS)
    assert is_taken(shelf, "k", "a", now=100.0, ttl_s=5.0)
    assert owners(shelf, "k", 104.9) == {"a"}
    assert owners(shelf, "k", 105.0) == set()
    assert not is_taken(shelf, "k", "b", now=100.0, ttl_s=0.0)


def test_a_later_record_replaces_an_earlier_one_and_an_equal_one_does_not() -> None:
    shelf = Shelf(LIMITS)
    assert is_taken(shelf, "k", "a", now=100.0, ttl_s=50.0, size=1)
    assert not is_taken(shelf, "k", "a", now=101.0, ttl_s=49.0, size=2)
    assert is_taken(shelf, "k", "a", now=101.0, ttl_s=50.0, size=3)
    assert shelf.get(b"k", 101.0)[b"a"].value == b"xxx"


@pytest.mark.parametrize("expiration", [float("nan"), float("-inf")])
def test_what_has_no_place_in_time_is_not_kept(expiration: float) -> None:
    shelf = Shelf(LIMITS)
    assert not shelf.take(b"k", b"a", b"x", expiration, 100.0)
    assert shelf.get(b"k", 100.0) == {}


def test_a_flood_of_one_peer_is_refused_and_puts_nobody_else_out() -> None:
    shelf = Shelf(LIMITS)
    assert is_taken(shelf, "other", "b", now=100.0)
    outcomes = [is_taken(shelf, f"k{n}", "a", now=100.0 + n / 1000) for n in range(9000)]
    assert outcomes.count(True) == LIMITS.max_kept
    assert outcomes.count(Reason.TOO_MANY) == 9000 - LIMITS.max_kept
    assert owners(shelf, "other", 109.0) == {"b"}


def test_a_peer_that_goes_on_at_an_honest_pace_displaces_its_own_oldest() -> None:
    shelf = Shelf(LIMITS)
    for n in range(20):
        assert is_taken(shelf, f"k{n}", "a", now=100.0 + 5.0 * n, ttl_s=3600.0) is True
    kept = [n for n in range(20) if owners(shelf, f"k{n}", 200.0)]
    assert kept == [16, 17, 18, 19]


def test_bytes_of_one_peer_are_bounded_like_its_records() -> None:
    shelf = Shelf(LIMITS)
    assert is_taken(shelf, "k0", "a", now=100.0, size=6000)
    assert is_taken(shelf, "k1", "a", now=100.0, size=6000) == Reason.TOO_MANY
    assert is_taken(shelf, "k1", "a", now=111.0, size=6000)
    assert owners(shelf, "k0", 111.0) == set()


def test_a_full_key_takes_no_newcomer_and_lets_those_in_it_go_on() -> None:
    shelf = Shelf(LIMITS)
    for owner in "abc":
        assert is_taken(shelf, "members", owner, now=100.0)
    assert is_taken(shelf, "members", "d", now=101.0) == Reason.TOO_MANY
    assert is_taken(shelf, "members", "a", now=101.0)
    assert is_taken(shelf, "members", "d", now=100.0 + 60.0 + SWEEP_S + 0.1)


def test_where_all_is_too_much_the_largest_gives_way_and_the_small_ones_stay() -> None:
    shelf = Shelf(LIMITS)
    assert is_taken(shelf, "small", "s", now=100.0)
    for n in range(50):
        outcome = is_taken(shelf, f"k{n}", f"greedy {n}", now=100.0, size=8000)
        assert outcome in (True, Reason.TOO_MANY)
    assert shelf._bytes <= LIMITS.max_kept_bytes_in_all
    assert is_taken(shelf, "small too", "t", now=100.0)
    assert owners(shelf, "small", 101.0) == {"s"}
    assert owners(shelf, "small too", 101.0) == {"t"}


@given(st.integers(0, 2**32))
def test_its_books_are_right_and_its_bounds_hold_whatever_comes(seed: int) -> None:
    draw = random.Random(seed)
    shelf, now = Shelf(LIMITS), 100.0
    for _ in range(120):
        now += draw.choice([0.0, 0.1, 3.0, 20.0])
        key, owner = f"k{draw.randrange(8)}", f"o{draw.randrange(6)}"
        size, ttl_s = draw.choice([0, 100, 5000, 12_000]), draw.choice([-1.0, 2.0, 30.0])
        is_taken(shelf, key, owner, now, size, ttl_s)
        books = {owner: dict(kept) for owner, kept in shelf._kept_of.items()}
        assert books == {
            owner: {k: o[owner] for k, o in shelf._owners_of.items() if owner in o}
            for owner in books
        }
        assert shelf._bytes == sum(shelf._bytes_of.values()) <= LIMITS.max_kept_bytes_in_all
        assert all(len(kept) <= LIMITS.max_kept for kept in books.values())
        assert all(size <= LIMITS.max_kept_bytes for size in shelf._bytes_of.values())
        assert all(len(o) <= LIMITS.max_members for o in shelf._owners_of.values())


def test_what_is_handed_on_is_the_newest_and_fits() -> None:
    shelf = Shelf(dataclasses.replace(LIMITS, max_kept=100))
    for n in range(9):
        assert is_taken(shelf, f"k{n}", "a", now=100.0 + n, size=100)
    assert list(shelf.newest(2000)) == [b"k8", b"k7", b"k6"]
