from itertools import product

from jaxswarm.records import Position
from jaxswarm.swarm import keys


def test_every_swarm_round_stage_and_peer_has_an_output_key_of_its_own() -> None:
    places = product("ab", range(3), range(3), "pq")
    made = [keys.output(s, Position(r, i), p) for s, r, i, p in places]
    assert len({keys.record_id(key) for key in made}) == 36


def test_a_record_id_is_twenty_bytes_that_hang_on_the_key_alone() -> None:
    assert keys.record_id(keys.members("a")) == keys.record_id(keys.members("a"))
    assert keys.record_id(keys.members("a")) != keys.record_id(keys.members("b"))
    assert len(keys.record_id("any")) == 20
