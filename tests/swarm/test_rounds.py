from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxswarm.records import Position
from jaxswarm.swarm import rounds
from jaxswarm.swarm.rounds import Member

FAR = 10**9


def member(
    peer: str,
    round_: int,
    stage_index: int = 0,
    *,
    published: bool = False,
    waiting: bool = False,
    heard_at: float = 0.0,
) -> Member:
    return Member(peer, Position(round_, stage_index), published, waiting, heard_at)


def at(*rounds_: int) -> list[Member]:
    return [member(str(index), round_) for index, round_ in enumerate(rounds_)]


def test_live_are_those_heard_within_the_time_in_the_order_of_their_ids() -> None:
    members = [member("b", 0, heard_at=10.0), member("c", 0, heard_at=4.9), member("a", 0)]
    assert [m.peer for m in rounds.live(members, now=10.0, ttl_s=5.1)] == ["b", "c"]
    assert [m.peer for m in rounds.live(members, now=10.0, ttl_s=10.0)] == ["a", "b", "c"]
    assert rounds.live(members, now=10.0, ttl_s=-1.0) == ()


@pytest.mark.parametrize(
    ("stands_at", "awaited", "read_once"),
    [
        (Position(5, 1), True, False),
        (Position(5, 0), True, False),
        (Position(4, 2), False, False),
        (Position(5, 2), False, True),
        (Position(6, 0), False, True),
        (Position(6, 1), False, True),
        (Position(6, 2), False, False),
        (Position(FAR, 0), False, False),
    ],
)
def test_a_stage_waits_for_who_is_in_it_or_one_behind_and_asks_once_who_is_a_round_ahead(
    stands_at: Position, awaited: bool, read_once: bool
) -> None:
    others = [Member("x", stands_at, False, False, 0.0)]
    assert rounds.to_await(Position(5, 1), others) == ({"x"} if awaited else set())
    assert rounds.to_read_once(Position(5, 1), others) == ({"x"} if read_once else set())


def test_only_who_is_in_the_stage_and_says_so_has_published_in_it() -> None:
    others = [
        member("in it", 5, 1),
        member("done", 5, 1, published=True),
        member("done earlier", 5, 0, published=True),
        member("ahead", 5, 2, published=True),
    ]
    assert rounds.said_published(Position(5, 1), others) == {"done"}


@pytest.mark.parametrize(
    ("left_at", "published", "has_it"),
    [
        (Position(5, 1), True, True),
        (Position(5, 1), False, False),
        (Position(5, 0), True, False),
        (Position(5, 2), False, True),
        (Position(6, 0), True, True),
        (Position(6, 1), True, False),
    ],
)
def test_of_who_left_an_output_is_there_if_it_was_out(
    left_at: Position, published: bool, has_it: bool
) -> None:
    gone = rounds.gone_past(Position(5, 1), [Member("x", left_at, published, False, 0.0)])
    assert [member.peer for member in gone] == (["x"] if has_it else [])
    assert rounds.to_await(Position(5, 1), gone) == frozenset()


def test_one_stage_behind_the_first_is_the_last_stage_of_the_round_before() -> None:
    assert rounds.to_await(Position(5, 0), [member("x", 4, 2)]) == {"x"}
    assert rounds.to_await(Position(0, 0), [member("x", 0, 0)]) == {"x"}


def test_who_waits_for_a_later_round_has_nothing_to_read() -> None:
    assert rounds.to_read_once(Position(5, 2), [member("x", 6, waiting=True)]) == frozenset()


def test_who_waits_for_this_round_is_awaited_in_it() -> None:
    assert rounds.to_await(Position(6, 0), [member("x", 6, waiting=True)]) == {"x"}


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        (3, [], 3),
        (0, [57], 57),  # of two, one is half
        (57, [0], 57),
        (3, [3, FAR], 3),
        (3, [4, 4], 4),
        (3, [3, 4], 3),
        (3, [3, 4, 4], 4),
        (0, [5, 5, 0, 0], 0),
        (0, [5, 5, 5, 0], 5),
    ],
)
def test_the_target_is_the_highest_round_that_half_have_reached(
    own: int, others: list[int], expected: int
) -> None:
    assert rounds.target_round(own, at(*others)) == expected


def test_who_waits_for_a_round_has_not_reached_it() -> None:
    assert rounds.target_round(3, [member("x", 4, waiting=True)]) == 3


@given(
    own=st.integers(0, 50),
    honest=st.lists(st.integers(0, 50), min_size=1, max_size=8),
    lie=st.integers(0, 2**40),
)
def test_one_liar_draws_nobody_beyond_the_honest_ones(
    own: int, honest: list[int], lie: int
) -> None:
    assert rounds.target_round(own, at(*honest, lie)) <= max(own, *honest)


@given(
    own=st.integers(0, 50),
    honest=st.lists(st.integers(0, 50), min_size=1, max_size=8),
    lie=st.integers(0, 2**40),
)
def test_one_liar_draws_nobody_back_behind_the_honest_ones(
    own: int, honest: list[int], lie: int
) -> None:
    assert rounds.target_round(own, at(*honest, lie)) >= min(own, *honest)


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        (12, [7, 7], 7),
        (12, [12, 7, 7, 7], 7),
        (12, [12, 7, 7], 12),  # they are half: the others come to them
        (12, [12, 7], 12),
        (8, [7, 7, 7], 8),  # it has only just begun its round
        (9, [7, 7, 7], 7),
    ],
)
def test_who_is_two_rounds_ahead_of_more_than_half_comes_back(
    own: int, others: list[int], expected: int
) -> None:
    assert rounds.target_round(own, at(*others)) == expected


@given(st.lists(st.integers(0, 40), min_size=2, max_size=9))
def test_however_a_swarm_fell_apart_all_agree_where_to_meet(rounds_: list[int]) -> None:
    """Each node hears all others: where they go on lies at most two rounds apart."""
    members = at(*rounds_)
    went_on = [
        go_on(me.position, [m for m in members if m is not me], joining=False) for me in members
    ]
    assert max(p.round for p in went_on) - min(p.round for p in went_on) <= 1


@given(own=st.integers(0, 9), others=st.lists(st.integers(0, 9), max_size=6))
def test_half_have_reached_the_target_and_no_half_a_higher_round(
    own: int, others: list[int]
) -> None:
    target = rounds.target_round(own, at(*others))
    everyone = [own, *others]
    if target > own:
        assert 2 * sum(r >= target for r in everyone) >= len(everyone)
    assert not 2 * sum(r > target for r in everyone) >= len(everyone)


def go_on(position: Position, others: Sequence[Member], joining: bool = False) -> Position:
    return rounds.go_on(position, others, joining=joining)


def test_alone_a_node_goes_on_where_it_is() -> None:
    assert go_on(Position(4, 1), []) == Position(4, 1)
    assert go_on(Position(0, 0), [], joining=True) == Position(0, 0)


def test_a_node_one_stage_behind_its_round_stays_in_it() -> None:
    others = [member("a", 6, 1), member("b", 6, 1)]
    assert go_on(Position(6, 0), others) == Position(6, 0)


def test_a_joiner_enters_the_round_while_most_are_still_answering() -> None:
    others = [member("a", 6), member("b", 6), member("c", 6, published=True)]
    assert go_on(Position(0, 0), others, joining=True) == Position(6, 0)


@pytest.mark.parametrize(
    "busy", [member("a", 6, published=True), member("a", 6, 1), member("a", 6, 2, published=True)]
)
def test_a_joiner_waits_for_the_next_round_once_answers_are_out(busy: Member) -> None:
    assert go_on(Position(0, 0), [busy], joining=True) == Position(7, 0)
    assert go_on(Position(0, 0), [busy, member("b", 6)], joining=True) == Position(7, 0)


def test_a_joiner_to_round_zero_waits_too_once_answers_are_out() -> None:
    assert go_on(Position(0, 0), [member("a", 0, 1)], joining=True) == Position(1, 0)
    assert go_on(Position(0, 0), [member("a", 0)], joining=True) == Position(0, 0)


def test_a_node_that_resumes_in_mid_round_goes_on_there() -> None:
    others = [member("a", 6, 1), member("b", 6, 1)]
    assert go_on(Position(6, 1), others, joining=True) == Position(6, 1)


def test_a_node_that_fell_behind_leaves_its_round() -> None:
    others = [member("a", 6), member("b", 6)]
    assert go_on(Position(5, 1), others) == Position(6, 0)
    others = [member("a", 6, 1), member("b", 6, 2)]
    assert go_on(Position(5, 1), others) == Position(7, 0)


def test_a_node_that_was_cut_off_ahead_comes_back_to_the_round_of_most() -> None:
    others = [member("a", 7), member("b", 7, published=True), member("c", 7)]
    assert go_on(Position(12, 1), others) == Position(7, 0)
    others = [member("a", 7, 1), member("b", 7, 2)]
    assert go_on(Position(12, 1), others) == Position(8, 0)


def test_newcomers_that_wait_draw_nobody_back() -> None:
    others = [member("a", 57), *(member(peer, 0, waiting=True) for peer in "bcde")]
    assert go_on(Position(57, 1), others) == Position(57, 1)


def test_a_joiner_does_not_count_those_that_wait_as_answering() -> None:
    others = [member("a", 6, 1), member("b", 6, 0, waiting=True), member("c", 6, 0, waiting=True)]
    assert go_on(Position(0, 0), others, joining=True) == Position(7, 0)


def test_a_waiting_node_starts_when_half_of_those_at_work_are_there() -> None:
    behind, there, further = member("a", 6, 2), member("b", 7), member("c", 8)
    assert not rounds.may_start(Position(7, 0), [behind])
    assert rounds.may_start(Position(7, 0), [behind, there])
    assert rounds.may_start(Position(7, 0), [further])


def test_where_all_wait_all_start() -> None:
    assert rounds.may_start(Position(7, 0), [member("a", 7, waiting=True)])
    assert rounds.may_start(Position(7, 0), [])


def test_of_few_others_all_are_partners() -> None:
    others = [member("a", 5, 1), member("b", 5), member("far", 9), member("c", 6)]
    assert rounds.partners(Position(5, 1), others, (), limit=3) == tuple(others)


def test_of_many_so_many_are_chosen_the_same_by_all_and_others_in_another_round() -> None:
    others = [member(f"p{number}", 5, 1) for number in range(100)]
    chosen = {m.peer for m in rounds.partners(Position(5, 1), others, (), limit=16)}
    assert len(chosen) == 16
    fewer = [m for m in others if m.peer != "p0"]
    assert {m.peer for m in rounds.partners(Position(5, 1), fewer, (), limit=16)} >= chosen - {"p0"}
    # The critics of a round are those who have answered in it.
    later = [member(m.peer, 5, 2) for m in others]
    assert {m.peer for m in rounds.partners(Position(5, 2), later, (), limit=16)} == chosen
    next_round = [member(m.peer, 6, 1) for m in others]
    assert {m.peer for m in rounds.partners(Position(6, 1), next_round, (), limit=16)} != chosen


def test_places_go_to_those_who_have_something_to_read() -> None:
    others = [member(f"p{number}", 9) for number in range(100)] + at(5, 5, 5)
    chosen = {m.peer for m in rounds.partners(Position(5, 0), others, (), limit=2)}
    assert len(chosen) == 2
    assert chosen < {"0", "1", "2"}


@given(st.sets(st.integers(0, 60), max_size=30), st.data())
def test_over_a_stage_no_more_are_read_than_allowed_however_members_come_and_go(
    first: set[int], data: st.DataObject
) -> None:
    read: set[str] = set()
    here = first
    for _ in range(4):
        others = [member(f"p{number}", 5, 1, published=True) for number in here]
        partners = rounds.partners(Position(5, 1), others, read, limit=8)
        read |= {m.peer for m in partners}
        assert len(read) <= 8
        here = data.draw(st.sets(st.integers(0, 60), max_size=30))


@pytest.mark.parametrize(("lie", "expected"), [(2**40 - 1, 7), (7 + rounds.FARTHEST + 1, 7)])
def test_one_stranger_that_claims_years_of_play_moves_not_even_a_lone_node(
    lie: int, expected: int
) -> None:
    assert go_on(Position(7, 1), at(lie), joining=False) == Position(expected, 1)
    assert go_on(Position(0, 0), at(7 + rounds.FARTHEST // 2), joining=False).round > 7
