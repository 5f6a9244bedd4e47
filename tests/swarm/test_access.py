from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxswarm.errors import InputError
from jaxswarm.swarm import access
from jaxswarm.swarm.access import Access
from jaxswarm.swarm.refusal import Reason, RefusedError

pytestmark = pytest.mark.faults

PEER, OTHER = "Qm" + "a" * 44, "Qm" + "b" * 44
PLACE, ELSEWHERE = b"p" * 20, b"q" * 20
MEMBER = Access(key=b"k" * 32)
OUTSIDER = Access(key=b"o" * 32)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("correct horse battery staple\n")
    return path


def is_refused(who: Access, sealed: bytes, place: bytes = PLACE, peer: str = PEER) -> bool:
    try:
        who.unseal(sealed, place, peer)
    except RefusedError as error:
        return error.reason == Reason.OUTSIDER
    return False


@given(st.binary(max_size=300))
def test_a_sealed_payload_is_read_by_members_alone_and_only_in_its_place(payload: bytes) -> None:
    sealed = MEMBER.seal(payload, PLACE, PEER)
    assert MEMBER.unseal(sealed, PLACE, PEER) == payload
    assert len(payload) < 4 or payload not in sealed
    assert is_refused(OUTSIDER, sealed)
    assert is_refused(MEMBER, sealed, place=ELSEWHERE)
    assert is_refused(MEMBER, sealed, peer=OTHER), "else anybody could pass it off as his"
    assert is_refused(MEMBER, payload)


def test_sealing_twice_gives_nothing_to_compare() -> None:
    assert MEMBER.seal(b"text", PLACE, PEER) != MEMBER.seal(b"text", PLACE, PEER)


def test_any_changed_bit_is_noticed() -> None:
    sealed = MEMBER.seal(b"text", PLACE, PEER)
    for index in range(len(sealed)):
        changed = bytearray(sealed)
        changed[index] ^= 1
        assert is_refused(MEMBER, bytes(changed))
    assert all(is_refused(MEMBER, sealed[:length]) for length in range(len(sealed)))


def test_a_proof_opens_the_door_for_the_peer_it_names_and_for_nobody_else() -> None:
    proof = MEMBER.proof(PEER)
    assert MEMBER.admits(PEER, proof)
    assert not MEMBER.admits(OTHER, proof)
    assert not OUTSIDER.admits(PEER, proof)
    assert not MEMBER.admits(PEER, b"")
    assert not MEMBER.admits(PEER, proof + proof)


def test_a_list_admits_whom_it_names_and_takes_no_record_of_others() -> None:
    listed = Access(allowed=frozenset({PEER}))
    assert listed.admits(PEER, b"")
    assert not listed.admits(OTHER, b"")
    assert listed.unseal(b"text", PLACE, PEER) == b"text"
    assert is_refused(listed, b"text", peer=OTHER)
    assert listed.including(OTHER).admits(OTHER, b"")


def test_with_secret_and_list_both_are_needed() -> None:
    both = Access(key=MEMBER.key, allowed=frozenset({PEER}))
    assert both.admits(PEER, MEMBER.proof(PEER))
    assert not both.admits(PEER, b"")
    assert not both.admits(OTHER, MEMBER.proof(OTHER))


def test_an_open_swarm_takes_everybody_and_seals_nothing() -> None:
    everybody = access.load("s", "", "")
    assert everybody == Access()
    assert everybody.admits(PEER, b"") == everybody.admits(OTHER, everybody.proof(OTHER)) is True
    assert everybody.seal(b"text", PLACE, PEER) == everybody.unseal(b"text", PLACE, PEER) == b"text"


def test_the_same_secret_is_the_same_key_in_one_swarm_and_another_in_the_next(secret: Path) -> None:
    first, again = (access.load("s", str(secret), "") for _ in range(2))
    assert first == again
    assert first != access.load("t", str(secret), "")
    assert "key" not in repr(first)


def test_a_list_may_be_words_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "peers"
    path.write_text(f"# the group\n{PEER}  # Ann\n\n{OTHER}\n")
    expected = Access(allowed=frozenset({PEER, OTHER}))
    assert access.load("s", "", f"{PEER}, {OTHER}") == access.load("s", "", str(path)) == expected


def test_what_can_t_be_used_is_said_in_one_line(tmp_path: Path, secret: Path) -> None:
    secret.write_text("too short\n")
    with pytest.raises(InputError, match=r"secret_file .* got '9 bytes'; .* at least 16 bytes"):
        access.load("s", str(secret), "")
    with pytest.raises(InputError, match=r"secret_file: got .*No such file"):
        access.load("s", str(tmp_path / "none"), "")
    secret.write_text(f"{PEER}\nQm-no-peer\n")
    with pytest.raises(InputError, match=r"allowed_peers: got '10 .* line 2 .* expected a peer"):
        access.load("s", "", str(secret))
    with pytest.raises(InputError, match=r"allowed_peers: got .*No such file"):
        access.load("s", "", "Qm1,Qm2")


def test_who_mixes_up_the_flags_prints_no_secret(secret: Path) -> None:
    with pytest.raises(InputError, match=r"allowed_peers: got '.* characters in line 1") as caught:
        access.load("s", "", str(secret))
    assert secret.read_text().strip() not in str(caught.value)
