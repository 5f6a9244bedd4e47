import time

import pytest

from jaxswarm.records import Position
from jaxswarm.swarm import shards
from jaxswarm.swarm.codec import Heartbeat
from jaxswarm.swarm.config import Limits
from jaxswarm.swarm.neighbourhood import Neighbourhood
from jaxswarm.swarm.shards import EVERYBODY, Shard

pytestmark = pytest.mark.faults

MANIFEST = (("data", "d1"),)
BEAT = Heartbeat(Position(0, 0), False, False, False, 1, MANIFEST)
LIMITS = Limits(split_members=8)
OWN = "me"
HOME = shards.address(OWN)


def peers(count: int, inside: Shard = EVERYBODY) -> list[str]:
    """So many ids whose addresses lie in a bucket."""
    found: list[str] = []
    for number in range(10**6):
        if shards.home(shards.address(f"p{number}"), inside.depth) == inside:
            found.append(f"p{number}")
        if len(found) == count:
            break
    return found


def hear(node: Neighbourhood, shard: Shard, ids: list[str], now: float = 0.0) -> None:
    for peer in ids:
        node.hear(shard, peer, BEAT, time.time() + 90.0 + now, now)


def heard(node: Neighbourhood, round_: int = 0, now: float = 0.0) -> set[str]:
    return {member.peer for member in node.live(round_, now)}


def test_a_small_swarm_is_one_bucket_of_which_everybody_is_heard() -> None:
    node = Neighbourhood(OWN, MANIFEST, 30.0, LIMITS)
    ids = peers(7)
    hear(node, EVERYBODY, ids)
    for round_ in range(5):
        assert not node.adapt(round_, 0.0)
        assert node.near(round_) == {EVERYBODY}
        assert heard(node, round_) == set(ids)
    assert node.home == EVERYBODY


def test_a_swarm_of_a_few_asks_for_nothing_but_the_one_bucket() -> None:
    node = Neighbourhood(OWN, MANIFEST, 30.0, LIMITS)
    hear(node, EVERYBODY, peers(3))
    node.adapt(0, 0.0)
    assert node.wide(0) == {EVERYBODY}
    hear(node, EVERYBODY, peers(6))
    node.adapt(0, 0.0)
    assert node.wide(0) == {EVERYBODY, Shard(1, 0), Shard(1, 1)}, "another may have moved already"


def test_where_it_is_crowded_a_node_goes_down_and_where_it_is_lonely_up() -> None:
    node = Neighbourhood(OWN, MANIFEST, 30.0, LIMITS)
    hear(node, EVERYBODY, peers(20))
    assert node.adapt(0, 0.0)
    assert node.home == shards.home(HOME, 1)
    now = 31.0  # all of them are silent
    while node.adapt(0, now):
        pass
    assert node.home == EVERYBODY


def test_a_step_leads_to_where_no_other_is_due() -> None:
    node = Neighbourhood(OWN, MANIFEST, 30.0, LIMITS)
    half, other = EVERYBODY.parts()
    hear(node, EVERYBODY, peers(5, half) + peers(5, other))
    assert node.adapt(0, 0.0)
    assert not node.adapt(0, 0.0)
    node = Neighbourhood(OWN, MANIFEST, 30.0, LIMITS)
    hear(node, EVERYBODY, peers(4, half) + peers(4, other))
    assert node.adapt(0, 0.0)
    assert not node.adapt(0, 0.0)


def test_those_who_beat_a_depth_up_or_down_are_heard_too() -> None:
    node = Neighbourhood(OWN, MANIFEST, 30.0, LIMITS)
    hear(node, EVERYBODY, peers(20))
    node.adapt(0, 0.0)
    node = Neighbourhood(OWN, MANIFEST, 30.0, LIMITS)
    hear(node, EVERYBODY, peers(20))
    assert node.adapt(0, 0.0)
    near = node.near(0)
    for shard in near:
        (child, _) = shard.parts()
        (peer,) = peers(1, child)
        hear(node, child, [peer], now=1.0)
        assert peer in heard(node, now=1.0)
    strangers = [p for p in peers(60) if shards.home(shards.address(p), 1) not in near]
    assert not heard(node) & set(strangers)


def test_a_newcomer_goes_down_to_where_enough_neighbours_beat() -> None:
    node = Neighbourhood(OWN, MANIFEST, 30.0, LIMITS)
    home = shards.home(HOME, 5)
    hear(node, home, peers(4, home))
    node.follow(0.0)
    assert node.home == home


def test_a_single_liar_at_the_bottom_of_the_list_draws_nobody_there() -> None:
    node = Neighbourhood(OWN, MANIFEST, 30.0, LIMITS)
    hear(node, EVERYBODY, peers(3))
    bottom = shards.home(HOME, shards.MAX_DEPTH)
    hear(node, bottom, ["liar"])
    node.follow(0.0)
    assert node.home == EVERYBODY
    elsewhere = Shard(4, shards.home(HOME, 4).bucket ^ 1)
    hear(node, elsewhere, peers(9, elsewhere))
    node.follow(0.0)
    assert node.home == EVERYBODY, "those beat on no path of this node"


def test_company_at_the_top_keeps_nobody_from_a_swarm_that_has_gone_down() -> None:
    node = Neighbourhood(OWN, MANIFEST, 30.0, LIMITS)
    home = shards.home(HOME, 2)
    hear(node, EVERYBODY, peers(6))
    hear(node, home, peers(5, home)[-3:])
    node.follow(0.0)
    assert node.home == home


def test_the_table_parts_with_the_silent_ones_of_earlier_rounds() -> None:
    node = Neighbourhood(OWN, MANIFEST, 30.0, LIMITS)
    everybody, met = peers(200), set()
    for round_ in range(40):
        now = 40.0 * round_
        for _ in range(8):
            depth, near = node.home.depth, node.near(round_)
            audible = [p for p in everybody if shards.home(shards.address(p), depth) in near]
            hear(node, node.home, audible, now)
            node.adapt(round_, now)
        met |= heard(node, round_, now)
    assert len(met) > 100, "in time it meets most"
    assert node.remembered < 60
