import time

import msgpack
import pytest

from jaxswarm.records import Position, StageOutput
from jaxswarm.swarm import codec, keys, shards
from jaxswarm.swarm.codec import Heartbeat, Reason, RefusedError
from jaxswarm.swarm.config import Limits
from jaxswarm.swarm.gate import CLOCK_SKEW_S, Gate, Refusals
from jaxswarm.swarm.shards import Shard

LIMITS = Limits(max_ttl_s=100.0)
POSITION = Position(3, 1)
OUTPUT = msgpack.packb(codec.encode_output(StageOutput("p", POSITION, ())))
HEARTBEAT = msgpack.packb(
    codec.encode_heartbeat(Heartbeat(POSITION, True, False, False, 1, (("data", "d"),)))
)
PLACE = keys.output("swarm", POSITION, "p")
MEMBERS = keys.members("swarm")


def judge(key: str, value: bytes, peer: str = "p", ttl_s: float = 50.0) -> Reason | None:
    try:
        Gate("swarm", LIMITS).admit(keys.record_id(key), peer, value, time.time() + ttl_s)
    except RefusedError as error:
        return error.reason
    return None


def test_a_record_in_its_own_place_passes() -> None:
    assert judge(PLACE, OUTPUT) is None
    assert judge(MEMBERS, HEARTBEAT) is None


@pytest.mark.parametrize(
    "key",
    [
        keys.output("swarm", Position(3, 2), "p"),
        keys.output("swarm", Position(4, 1), "p"),
        keys.output("swarm", POSITION, "q"),
        keys.output("other", POSITION, "p"),
        MEMBERS,
    ],
)
def test_under_any_other_key_it_is_misplaced(key: str) -> None:
    assert judge(key, OUTPUT) == Reason.MISPLACED


def test_signed_by_another_it_is_misplaced() -> None:
    assert judge(PLACE, OUTPUT, peer="q") == Reason.MISPLACED


@pytest.mark.parametrize(
    "value", [b"", b"\xc1", msgpack.packb("text"), msgpack.packb(b"\xc1"), OUTPUT + b"\0"]
)
def test_what_is_not_one_wrapped_record_is_malformed(value: bytes) -> None:
    assert judge(PLACE, value) == Reason.MALFORMED


@pytest.mark.parametrize("ttl_s", [100.0 + CLOCK_SKEW_S + 5.0, float("inf"), float("nan")])
def test_it_may_not_ask_to_be_kept_for_too_long(ttl_s: float) -> None:
    assert judge(PLACE, OUTPUT, ttl_s=ttl_s) == Reason.EXPIRY


def test_a_clock_that_is_a_little_ahead_does_no_harm() -> None:
    assert judge(PLACE, OUTPUT, ttl_s=130.0) is None


def test_a_record_is_counted_once_however_often_it_is_met() -> None:
    refusals = Refusals()
    for _ in range(3):
        refusals.count(Reason.FORGED, b"key", b"value")
    refusals.count(Reason.FORGED, b"ke", b"yvalue")
    refusals.count(Reason.UNSIGNED, b"another")
    assert refusals.counts() == {"forged": 2, "unsigned": 1}


def test_a_flood_of_bad_records_is_counted_in_bounded_memory() -> None:
    refusals = Refusals()
    for index in range(10_000):
        refusals.count(Reason.FORGED, index.to_bytes(8))
    assert refusals.counts() == {"forged": 10_000}
    assert len(refusals._seen) == Refusals._REMEMBERED


def test_a_heartbeat_may_lie_in_its_writers_own_buckets_alone() -> None:
    path = shards.path(shards.address("p"))
    for shard in path:
        assert judge(keys.members("swarm", shard), HEARTBEAT) is None
    for shard in path[1:]:
        other = Shard(shard.depth, shard.bucket ^ 1)
        assert judge(keys.members("swarm", other), HEARTBEAT) == Reason.MISPLACED
    below = Shard(shards.MAX_DEPTH + 1, 2 * path[-1].bucket)
    assert judge(keys.members("swarm", below), HEARTBEAT) == Reason.MISPLACED
