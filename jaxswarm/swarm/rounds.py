"""Rounds without a coordinator: what a node does next follows from the heartbeats it hears.

Every rule is a pure function of the *others*: the live members of the swarm as this node hears
them, itself left out (in `gone_past` those who left). No rule trusts a single peer: one that lies
about its position moves nobody as long as at least two honest nodes (oneself included) are live,
and it holds nobody beyond a stage's deadline.

In a large swarm they are a sample (neighbourhood.py): "most" is most of those heard. Since another
part of the swarm is heard in each round, none can stay behind or run ahead for long.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from jaxswarm.records import STAGES, Position

FARTHEST = 2**20
"""Rounds ahead of one's own, years of play: who says that it is further ahead lies."""


@dataclass(frozen=True, slots=True)
class Member:
    """What one peer's latest heartbeat said.

    `published`: its output for `position` is out. `waiting`: it stands idle before `position` and
    starts when the others get there. `heard_at`: when this node heard it, in seconds of this node's
    monotonic clock, so that no peer's clock decides who is alive.
    """

    peer: str
    position: Position
    published: bool
    waiting: bool
    heard_at: float


def live(members: Iterable[Member], now: float, ttl_s: float) -> tuple[Member, ...]:
    """The members heard within the last `ttl_s` seconds, in the order of their ids."""
    heard = (member for member in members if now - member.heard_at <= ttl_s)
    return tuple(sorted(heard, key=lambda member: member.peer))


def to_await(position: Position, others: Iterable[Member]) -> frozenset[str]:
    """The peers whose output for `position` ends the stage: those in it, or one stage before it.

    One stage behind is on its way. Further behind is not waited for: it will skip ahead by
    `go_on`, or its outputs come too late to matter.
    """
    return frozenset(m.peer for m in others if 0 <= _stages_between(m.position, position) <= 1)


def said_published(position: Position, others: Iterable[Member]) -> frozenset[str]:
    """Those in the stage whose heartbeat says that their output for it is out: worth a look-up."""
    return frozenset(m.peer for m in others if m.position == position and m.published)


def to_read_once(position: Position, others: Iterable[Member]) -> frozenset[str]:
    """The peers at most one round ahead of `position`: had they an output for it, it is out.

    Those that wait before their position came from nowhere and have none.
    """
    return frozenset(
        m.peer
        for m in others
        if not m.waiting and 0 < _stages_between(position, m.position) <= len(STAGES)
    )


def gone_past(position: Position, departed: Iterable[Member]) -> tuple[Member, ...]:
    """Of the members who left, those who had put out an output for `position`.

    As if they had gone on: what they put out can be read, and nothing more is to be waited for.
    """
    on = (replace(m, position=m.position.next()) if m.published else m for m in departed)
    out = tuple(replace(member, published=False) for member in on)
    past = to_read_once(position, out)
    return tuple(member for member in out if member.peer in past)


def newest_out(member: Member) -> Position | None:
    """The latest position that this member's output is out for, where a round is one answer stage.

    None where there is none yet.
    """
    if member.waiting or member.position.stage_index:
        return None
    round_ = member.position.round - (not member.published)
    return Position(round_, 0) if round_ >= 0 else None


def partners(
    position: Position, others: Sequence[Member], read: Collection[str], limit: int
) -> tuple[Member, ...]:
    """The members whose outputs for `position` a node reads, no more than `limit` over a stage.

    All who have or will have one, where they are so few; else those first in an order that follows
    from the round and their ids. It is the same for all who hear the same members: they read the
    same texts, so that a vote names what the others know too.

    Args:
      read: the peers whose outputs are in hand. They have taken their places.
    """
    rest = (to_await(position, others) | to_read_once(position, others)) - frozenset(read)
    if len(rest) + len(read) <= limit:
        return tuple(others)

    chosen = {*read, *in_turn(position.round, rest)[: max(0, limit - len(read))]}
    return tuple(member for member in others if member.peer in chosen)


def in_turn(round_index: int, peers: Iterable[str]) -> list[str]:
    """The peers in an order that nobody steers and that is another in each round."""

    def rank(peer: str) -> bytes:
        return hashlib.sha256(f"partners\n{round_index}\n{peer}".encode()).digest()

    return sorted(peers, key=rank)


def target_round(own_round: int, others: Iterable[Member]) -> int:
    """The highest round that at least half of the live nodes have reached, this one included.

    Who waits for a round has not reached it. A node that is one round ahead of most has just begun
    it, and stays. One that is further ahead was cut off from them, with a few others or alone, and
    comes back to them: they can't come to it, for then one liar could draw them anywhere.
    """
    rounds = sorted([own_round, *(m.position.round for m in others if not m.waiting)], reverse=True)
    half = (len(rounds) + 1) // 2
    reached = rounds[half - 1]
    return reached if reached < own_round - 1 else max(own_round, reached)


def go_on(position: Position, others: Sequence[Member], *, joining: bool) -> Position:
    """Where a node takes its next step that would otherwise take it at `position`.

    In step with the swarm: at `position`. Behind it, cut off ahead of it, or `joining` (it has had
    no part in that round so far): at the answer stage of the swarm's round while most who have
    reached it are still answering, else at that of the following round, so that nobody who has
    finished an answer waits for one that has just begun.
    """
    others = [m for m in others if m.position.round - position.round <= FARTHEST]
    round_ = target_round(position.round, others)
    late = round_ != position.round or (joining and position.stage_index == 0)
    if not late:
        return position
    there = [m for m in others if m.position.round >= round_ and not m.waiting]
    answering = [m for m in there if m.position == Position(round_, 0) and not m.published]
    if not there or 2 * len(answering) > len(there):
        return Position(round_, 0)
    return Position(round_ + 1, 0)


def may_start(position: Position, others: Iterable[Member]) -> bool:
    """Whether a node that waits before `position` starts: half of those at work are in its round.

    True without others at work: if all wait, nobody would ever start.
    """
    at_work = [m for m in others if not m.waiting]
    reached = [m for m in at_work if m.position.round >= position.round]
    return 2 * len(reached) >= len(at_work)


def _stages_between(early: Position, late: Position) -> int:
    """How many stages `late` lies after `early`; negative if before it."""
    rounds = late.round - early.round
    return rounds * len(STAGES) + late.stage_index - early.stage_index
