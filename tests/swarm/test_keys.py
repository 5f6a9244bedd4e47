from itertools import product

from jaxswarm.records import Position
from jaxswarm.swarm import keys
from jaxswarm.swarm.shards import Shard


def test_every_swarm_round_stage_and_peer_has_an_output_key_of_its_own() -> None:
    places = product("ab", range(3), range(3), "pq")
    made = [keys.output(s, Position(r, i), p) for s, r, i, p in places]
    assert len({keys.record_id(key) for key in made}) == 36


def test_a_record_id_is_twenty_bytes_that_hang_on_the_key_alone() -> None:
    assert keys.record_id(keys.members("a")) == keys.record_id(keys.members("a"))
    assert keys.record_id(keys.members("a")) != keys.record_id(keys.members("b"))
    assert len(keys.record_id("any")) == 20


def test_every_bucket_of_the_members_has_a_key_of_its_own() -> None:
    made = [keys.members("a", Shard(depth, bucket)) for depth in range(4) for bucket in range(8)]
    assert keys.members("a") == keys.members("a", Shard(0, 0))
    assert len({*made, keys.output("a", Position(0, 0), "p")}) == len(made) + 1
