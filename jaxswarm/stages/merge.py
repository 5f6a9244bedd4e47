"""From replies to the next stage: what is published, and whose texts the next prompt shows."""

import hashlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from jaxswarm.records import Discussion, PeerText, Reply, Stage, StageOutput
from jaxswarm.stages.answers import final_answer
from jaxswarm.stages.votes import vote_of

PUBLISH_POLICIES = ("best", "first", "majority")


@dataclass(frozen=True, slots=True)
class Merged:
    """What a stage leaves behind for the next one.

    `refused` counts the texts that can't be used, by reason; those beyond the limit of peers are
    none of them.
    """

    discussions: tuple[Discussion, ...]
    refused: Mapping[str, int]


def reply_of(stage: Stage, text: str, discussion: Discussion) -> Reply:
    """The record to publish of an own text. Its vote is read here, where its numbers hold."""
    return Reply(discussion.question.id, text, vote_of(stage, text, discussion))


def choose(
    policy: str,
    stage: Stage,
    texts: Sequence[str],
    totals: Sequence[float],
    discussion: Discussion,
) -> int:
    """Which text of a group is published.

    Args:
      policy: "best" by reward, which knows the gold answer (as RL Swarm published); "first"; or
        "majority": what most of the group say, by final number (answer, resolve) or by named answer
        (critique).
      stage: the stage that the texts reply to.
      texts: the group's completions, at least one.
      totals: their total rewards; read by "best" alone.
      discussion: what the texts were written about.

    Returns:
      An index into `texts`; the earliest of equals. A group of which nobody says anything gives its
      first.
    """
    assert policy in PUBLISH_POLICIES, policy
    if policy == "first":
        return 0
    if policy == "best":
        return max(range(len(texts)), key=lambda index: totals[index])
    said = [
        vote_of(stage, text, discussion) if stage == Stage.CRITIQUE else final_answer(text)
        for text in texts
    ]
    counts = Counter(word for word in said if word)
    return said.index(counts.most_common(1)[0][0]) if counts else 0


def select_peers(
    candidates: Sequence[PeerText], own_peer: str, limit: int, seed_material: str
) -> tuple[PeerText, ...]:
    """At most `limit` peers' texts, the own one always among them, in an order nobody steers.

    Rank is SHA-256 of (`seed_material`, peer): every node ranks alike, and a peer's rank changes
    with the seed material, so that no name is ahead for long. The order in which records arrived
    has no part in it.
    """
    assert limit >= 1, limit
    ranked = sorted(
        candidates,
        key=lambda text: hashlib.sha256(f"{seed_material}\n{text.peer}".encode()).digest(),
    )
    others = [text for text in ranked if text.peer != own_peer]
    own_count = len(ranked) - len(others)
    kept = {text.peer for text in others[: limit - own_count]} | {own_peer}
    return tuple(text for text in ranked if text.peer in kept)


def sift(
    outputs: Iterable[StageOutput], questions: Container[str], max_peer_chars: int, own: str = ""
) -> Iterator[tuple[str, Reply, str]]:
    """Each reply with its peer, and why it can't be used: "" where it can. For reasons see `merge`.

    Args:
      outputs: what was published in one stage.
      questions: the ids of those that it was about.
      max_peer_chars: longest text of a peer to use.
      own: the peer whose texts may be blank and of any length.
    """
    used: set[tuple[str, str]] = set()
    for output in outputs:
        for reply in output.replies:
            key = (output.peer, reply.question_id)
            reason = fault(reply, questions, max_peer_chars, is_own=output.peer == own)
            if not reason and key in used:
                reason = "repeated"
            if not reason:
                used.add(key)
            yield output.peer, reply, reason


def fault(reply: Reply, questions: Container[str], max_chars: int, *, is_own: bool = False) -> str:
    """Why a reply can't be used, whatever else was said; "" where it can. Args: as for `sift`."""
    if reply.question_id not in questions:
        return "unknown question"
    if is_own:
        return ""
    if not reply.text.strip():
        return "blank text"
    return "too long" if len(reply.text) > max_chars else ""


def merge(
    stage: Stage,
    discussions: Sequence[Discussion],
    outputs: Sequence[StageOutput],
    own: StageOutput,
    *,
    limit: int,
    swarm_seed: int,
    max_peer_chars: int,
) -> Merged:
    """The discussions as the next stage sees them.

    After the answer stage they hold answers, after the critique stage critiques too; the resolve
    stage ends the round and adds nothing. Peers take the same places in both, as far as they took
    part in both. A text that can't be used is refused whole, never cut: a cut answer would be
    judged for what it didn't say.

    Args:
      stage: the stage that has just ended.
      discussions: one for each of the round's questions, as the stage saw them.
      outputs: what the peers published in this stage.
      own: what this node published; its texts are shown whatever their length, so that a node
        without peers learns from its own.
      limit: highest number of texts to show for one question, own one included; at least 1.
      swarm_seed: part of the hash by which peers are chosen.
      max_peer_chars: longest text of a peer to show.

    Returns:
      The discussions, in their order, and the counts of what was refused. Reasons:
      "unknown question", "repeated" (a peer's second text for one question), "blank text",
      "too long".
    """
    by_question: dict[str, list[PeerText]] = {d.question.id: [] for d in discussions}
    refused: Counter[str] = Counter()
    for peer, reply, reason in sift((own, *outputs), by_question, max_peer_chars, own.peer):
        if reason:
            refused[reason] += 1
        else:
            by_question[reply.question_id].append(PeerText(peer, reply.text, reply.vote))

    merged = []
    for discussion in discussions:
        question_id = discussion.question.id
        shown = select_peers(
            by_question[question_id],
            own.peer,
            limit,
            f"{swarm_seed}\n{own.position.round}\n{question_id}",
        )
        merged.append(_fill(stage, discussion, shown))
    return Merged(tuple(merged), MappingProxyType(dict(refused)))


def _fill(stage: Stage, discussion: Discussion, shown: tuple[PeerText, ...]) -> Discussion:
    if stage == Stage.ANSWER:
        return replace(discussion, answers=shown)
    if stage == Stage.CRITIQUE:
        return replace(discussion, critiques=shown)
    return discussion
