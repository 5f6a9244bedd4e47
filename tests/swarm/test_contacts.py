import itertools
from pathlib import Path

import pytest

from jaxswarm.swarm import contacts
from jaxswarm.swarm.contacts import FIRST_RETRY_S, MAX_PEERS, Contacts, Redial

KNOWN = Contacts("s", ("/ip4/0.0.0.0/tcp/0",), ("/ip4/0.0.0.0/tcp/4001",), (("p", "m"),), "mark")


def test_what_is_written_is_read_again_by_the_same_swarm_alone(tmp_path: Path) -> None:
    path = tmp_path / "contacts.json"
    contacts.write(path, KNOWN)
    assert contacts.read(path, "s") == KNOWN
    assert contacts.read(path, "other") == Contacts("other")
    assert [file.name for file in tmp_path.iterdir()] == ["contacts.json"]


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"[]", b"{}", b'{"swarm": "s"}', b'{"swarm": "s", "asked": 3}']
)
def test_a_file_that_says_nothing_of_use_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "contacts.json"
    assert contacts.read(path, "s") == Contacts("s")
    path.write_bytes(content)
    assert contacts.read(path, "s") == Contacts("s")


def crowd(name: str, count: int) -> dict[str, str]:
    return {f"{name}{index}": "m" for index in range(count)}


def test_those_met_last_are_remembered(tmp_path: Path) -> None:
    many = Contacts("s").met(crowd("p", MAX_PEERS)).met(crowd("q", 5))
    expected = {*crowd("p", MAX_PEERS), *crowd("q", 5)} - crowd("p", 5).keys()
    assert {peer for peer, _ in many.peers} == expected
    assert many.met({"p7": "new"}).peers[-1] == ("p7", "new")
    contacts.write(tmp_path / "contacts.json", many)
    assert contacts.read(tmp_path / "contacts.json", "s").peers == many.peers


def test_a_crowd_of_newcomers_displaces_nobody_who_is_there() -> None:
    known = Contacts("s").met(crowd("p", 3))
    beset = known.met(crowd("sybil", 2 * MAX_PEERS) | crowd("p", 3))
    assert len(beset.peers) == MAX_PEERS
    assert crowd("p", 3).keys() <= dict(beset.peers).keys()
    assert beset.met(crowd("p", 3) | crowd("sybil", 2 * MAX_PEERS)) == beset, "nothing to write"


def test_a_file_that_can_t_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        contacts.write(tmp_path / "nowhere" / "contacts.json", KNOWN)


def test_who_is_lost_is_dialled_at_once_and_then_at_growing_pauses() -> None:
    redial, now, dialled_at = Redial(longest_pause_s=10.0), 0.0, []
    while now < 60.0:
        due = redial.due(["m"], now)
        if due:
            dialled_at.append(now)
            redial.tried(due, set(), now)
        now += 1.0
    pauses = [late - early for early, late in itertools.pairwise(dialled_at)]
    assert dialled_at[0] == 0.0
    assert pauses[:3] == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S]
    assert set(pauses[3:]) == {10.0}
    redial.tried(["m"], {"m"}, now)
    assert redial.due(["m"], now) == ["m"], "lost anew"
    redial.tried(["m"], set(), now)
    assert redial.due([], now) == []
    assert redial.due(["m"], now) == ["m"], "forgotten, as it was not lost"
