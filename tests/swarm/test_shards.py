import itertools

from hypothesis import given
from hypothesis import strategies as st

from jaxswarm.swarm import shards
from jaxswarm.swarm.shards import EVERYBODY, MAX_DEPTH, Shard

addresses = st.integers(0, 2**64 - 1)
depths = st.integers(0, MAX_DEPTH)


def test_addresses_are_spread_evenly_and_follow_from_the_id_alone() -> None:
    homes = [shards.home(shards.address(f"Qm{number}"), 3).bucket for number in range(8000)]
    assert all(800 < homes.count(bucket) < 1200 for bucket in range(8))
    assert shards.address("Qm1") == shards.address("Qm1")


@given(addresses)
def test_the_path_leads_from_everybody_down_by_halves(address: int) -> None:
    path = shards.path(address)
    assert path[0] == EVERYBODY
    assert [shard.depth for shard in path] == list(range(MAX_DEPTH + 1))
    for upper, lower in itertools.pairwise(path):
        assert lower in upper.parts()
        assert lower.whole() == upper


@given(addresses, depths, st.integers(0, 1000))
def test_who_is_paired_with_whom_is_the_same_on_both_sides(
    address: int, depth: int, round_: int
) -> None:
    pair = shards.pair(address, depth, round_)
    assert shards.home(address, depth) in pair
    assert 1 <= len(pair) <= 2
    for shard in pair:
        anybody_there = shard.bucket << (64 - depth)
        assert shards.pair(anybody_there, depth, round_) == pair


def test_over_the_rounds_a_bucket_meets_many_others() -> None:
    met = {shard for round_ in range(100) for shard in shards.pair(0, 5, round_)}
    assert len(met) > 25


@given(addresses, addresses, st.integers(0, MAX_DEPTH - 1), st.integers(0, 99))
def test_members_whose_depths_differ_by_one_read_where_the_other_beats(
    one: int, other: int, depth: int, round_: int
) -> None:
    upper, lower = shards.pair(one, depth, round_), shards.pair(other, depth + 1, round_)
    if shards.home(other, depth) in upper:
        assert shards.home(other, depth + 1) in shards.around(upper)
        assert upper & shards.around(lower)
        assert shards.home(one, depth) in shards.around(lower)


def test_there_is_nothing_above_everybody_and_nothing_below_the_last() -> None:
    assert shards.around([EVERYBODY]) == {EVERYBODY, Shard(1, 0), Shard(1, 1)}
    assert shards.around([Shard(MAX_DEPTH, 0)]) == {Shard(MAX_DEPTH, 0), Shard(MAX_DEPTH - 1, 0)}
