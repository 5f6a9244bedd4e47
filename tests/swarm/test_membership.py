import dataclasses
import time

from jaxswarm.records import Position
from jaxswarm.swarm.codec import Heartbeat
from jaxswarm.swarm.membership import Membership

MANIFEST = (("data", "d1"),)
BEAT = Heartbeat(Position(1, 0), False, False, False, 1, MANIFEST)


def peers(members: Membership, now: float) -> list[str]:
    return [member.peer for member in members.live(now)]


def test_a_peer_is_live_until_it_has_been_silent_for_the_time() -> None:
    members = Membership(MANIFEST, ttl_s=10.0)
    members.hear("a", BEAT, expiration=100.0, now=0.0)
    assert peers(members, 10.0) == ["a"]
    assert peers(members, 10.1) == []
    members.hear("a", BEAT, expiration=101.0, now=11.0)
    assert peers(members, 21.0) == ["a"]


def test_an_old_heartbeat_repeated_keeps_nobody_alive_and_changes_nothing() -> None:
    members = Membership(MANIFEST, ttl_s=10.0)
    later = dataclasses.replace(BEAT, position=Position(2, 0))
    members.hear("a", later, expiration=100.0, now=0.0)
    for expiration in (100.0, 99.0):
        members.hear("a", BEAT, expiration=expiration, now=9.0)
    (member,) = members.live(9.0)
    assert member.position == Position(2, 0)
    assert peers(members, 10.1) == []


def test_a_clock_that_is_wrong_does_not_make_a_beating_peer_dead() -> None:
    members = Membership(MANIFEST, ttl_s=10.0)
    for step in range(4):
        members.hear("a", BEAT, expiration=-1000.0 + 5.0 * step, now=5.0 * step)
        assert peers(members, 5.0 * step + 1.0) == ["a"]


def test_who_left_is_gone_at_once() -> None:
    members = Membership(MANIFEST, ttl_s=10.0)
    members.hear("a", BEAT, expiration=100.0, now=0.0)
    members.hear("a", dataclasses.replace(BEAT, gone=True), expiration=101.0, now=1.0)
    assert peers(members, 1.0) == []
    assert list(members.manifests(1.0)) == []


def test_who_keeps_to_another_manifest_is_no_member_but_is_known() -> None:
    members = Membership(MANIFEST, ttl_s=10.0)
    other = (("data", "d2"),)
    members.hear("a", dataclasses.replace(BEAT, manifest=other), expiration=100.0, now=0.0)
    assert peers(members, 0.0) == []
    assert list(members.manifests(0.0)) == [("a", other)]
    assert list(members.manifests(10.1)) == []


def test_forget_drops_whom_the_dht_no_longer_keeps() -> None:
    members = Membership(MANIFEST, ttl_s=1e9)
    members.hear("long gone", BEAT, expiration=time.time() - 1000.0, now=0.0)
    members.hear("here", BEAT, expiration=time.time() + 10.0, now=0.0)
    members.forget()
    assert peers(members, 0.0) == ["here"]


def test_a_flood_of_newcomers_puts_nobody_out_and_stays_bounded() -> None:
    members = Membership(MANIFEST, ttl_s=1e9, max_members=3)
    for peer in "abcdef":
        members.hear(peer, BEAT, expiration=time.time() + 10.0, now=0.0)
    assert peers(members, 0.0) == ["a", "b", "c"]
    members.hear("a", dataclasses.replace(BEAT, gone=True), expiration=time.time() + 20.0, now=1.0)
    assert peers(members, 1.0) == ["b", "c"]


def test_who_left_is_known_with_what_was_out_then_until_it_is_back() -> None:
    members = Membership(MANIFEST, ttl_s=10.0)
    gone = dataclasses.replace(BEAT, published=True, gone=True)
    members.hear("a", gone, expiration=time.time(), now=0.0)
    members.hear("b", BEAT, expiration=time.time(), now=0.0)
    foreign = dataclasses.replace(gone, manifest=(("data", "d2"),))
    members.hear("c", foreign, expiration=time.time(), now=0.0)
    (member,) = members.departed()
    assert (member.peer, member.position, member.published) == ("a", Position(1, 0), True)
    members.hear("a", BEAT, expiration=time.time() + 1.0, now=1.0)
    assert members.departed() == ()
