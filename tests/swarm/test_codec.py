import dataclasses

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxswarm.records import NONE_RIGHT, Position, Reply, StageOutput, content_id
from jaxswarm.swarm import codec
from jaxswarm.swarm.codec import Heartbeat, Reason, RefusedError
from jaxswarm.swarm.config import Limits

LIMITS = Limits(max_record_bytes=4096, max_text_chars=100, max_replies=5)
POSITION = Position(3, 1)
ID = "0123456789abcdef"

ids = st.text("0123456789abcdef", min_size=16, max_size=16)
clean_texts = st.text(max_size=100).map(codec.clean)
positions = st.builds(Position, st.integers(0, codec.MAX_ROUND - 1), st.integers(0, 2))
votes = st.one_of(st.just(""), st.just(NONE_RIGHT), ids)
outputs = st.builds(
    StageOutput,
    st.just("me"),
    positions,
    st.lists(st.builds(Reply, ids, clean_texts, votes), max_size=5).map(tuple),
)
fields = st.dictionaries(
    clean_texts, st.one_of(clean_texts, st.integers(-(2**63), 2**63)), max_size=16
).map(lambda manifest: tuple(sorted(manifest.items())))
heartbeats = st.builds(
    Heartbeat,
    positions,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**63 - 1),
    fields,
)


def reason_for(payload: bytes, limits: Limits = LIMITS) -> Reason:
    with pytest.raises(RefusedError) as caught:
        codec.decode(payload, "me", limits)
    return caught.value.reason


def packed(*parts: object) -> bytes:
    return msgpack.packb([codec.VERSION, *parts])


def packed_output(*replies: object, round_: object = 3, stage_index: object = 1) -> bytes:
    return packed("output", round_, stage_index, list(replies))


@given(outputs)
def test_an_output_comes_back_as_it_was(output: StageOutput) -> None:
    assert codec.decode(codec.encode_output(output), "me", LIMITS) == output


@given(outputs)
def test_the_same_output_packs_to_the_same_bytes(output: StageOutput) -> None:
    again = dataclasses.replace(output, replies=tuple(map(dataclasses.replace, output.replies)))
    assert codec.encode_output(output) == codec.encode_output(again)


@given(heartbeats)
def test_a_heartbeat_comes_back_as_it_was(heartbeat: Heartbeat) -> None:
    limits = Limits(max_record_bytes=100_000)
    assert codec.decode(codec.encode_heartbeat(heartbeat), "me", limits) == heartbeat


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused_or_sound_and_nothing_else(payload: bytes) -> None:
    decode_or_refuse(payload)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary() | st.sampled_from(["heartbeat", "output", codec.VERSION]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 9), inner),
    max_leaves=6,
)  # fmt: skip


@given(st.lists(anything, max_size=5), st.sampled_from(["heartbeat", "output"]))
def test_foreign_structures_are_refused_or_sound_and_nothing_else(body, kind: str) -> None:
    decode_or_refuse(msgpack.packb(body))
    decode_or_refuse(packed(kind, *body))
    decode_or_refuse(packed_output(*body))


@given(outputs, st.data())
def test_a_torn_or_flipped_record_is_refused_or_sound(output: StageOutput, data) -> None:
    payload = bytearray(codec.encode_output(output))
    index = data.draw(st.integers(0, len(payload) - 1))
    decode_or_refuse(bytes(payload[:index]))
    payload[index] ^= data.draw(st.integers(1, 255))
    decode_or_refuse(bytes(payload))


def decode_or_refuse(payload: bytes) -> None:
    try:
        record = codec.decode(payload, "me", LIMITS)
    except RefusedError:
        return
    if isinstance(record, Heartbeat):
        again = codec.encode_heartbeat(record)
    else:
        again = codec.encode_output(record)
        assert codec.fitting(record, LIMITS) == record, "a node accepts what it may publish"
    assert codec.decode(again, "me", LIMITS) == record


@pytest.mark.parametrize(
    "reply",
    [
        ["0123456789ABCDEF", "t", ""],
        ["0123456789abcde", "t", ""],
        [ID + "\n", "t", ""],
        [ID, "bell \x07", ""],
        [ID, "carriage\rreturn", ""],
        [ID, "delete \x7f", ""],
        [ID, "next line \x85", ""],
        [ID, "t", "None"],
        [ID, "t", "0" * 15],
        [ID, "t"],
        [ID, "t", "", ""],
        [ID, 5, ""],
        [ID, b"t", ""],
        [ID, None, ""],
        "no list",
    ],
)
def test_a_reply_that_is_not_sound_makes_the_record_malformed(reply: object) -> None:
    assert reason_for(packed_output(reply)) == Reason.MALFORMED


def test_newline_and_tab_are_text_and_so_is_a_smile() -> None:
    record = codec.decode(packed_output([ID, "a\n\tb \U0001f600 <answer>", ""]), "me", LIMITS)
    assert record == StageOutput("me", POSITION, (Reply(ID, "a\n\tb \U0001f600 <answer>"),))


def test_a_question_may_be_answered_more_than_once() -> None:
    record = codec.decode(packed_output([ID, "a", ""], [ID, "a", ""]), "me", LIMITS)
    assert record == StageOutput("me", POSITION, (Reply(ID, "a"), Reply(ID, "a")))


@pytest.mark.parametrize("round_", [-1, codec.MAX_ROUND, 1.0, True, "1", None, float("nan")])
def test_a_round_is_a_bounded_whole_number(round_: object) -> None:
    assert reason_for(packed_output(round_=round_)) == Reason.MALFORMED


@pytest.mark.parametrize("stage_index", [-1, 3, 1.0, False, None])
def test_a_stage_is_one_of_three(stage_index: object) -> None:
    assert reason_for(packed_output(stage_index=stage_index)) == Reason.MALFORMED


@pytest.mark.parametrize("manifest", [(("b", 1), ("a", 2)), (("a", 1), ("a", 1))])
def test_a_manifest_has_each_field_once_in_the_order_of_the_names(manifest) -> None:
    heartbeat = Heartbeat(Position(0, 0), True, False, False, 1, manifest)
    assert reason_for(codec.encode_heartbeat(heartbeat)) == Reason.MALFORMED


def test_text_that_is_no_utf8_is_malformed() -> None:
    payload = packed_output([ID, "~~~~", ""]).replace(b"~~~~", b"\xed\xa0\x80~")
    assert reason_for(payload) == Reason.MALFORMED


@pytest.mark.parametrize(
    "payload",
    [
        packed_output([ID, "x" * 101, ""]),
        packed_output(*([f"{n:016x}", "", ""] for n in range(6))),
        b"\0" * 4097,
    ],
)
def test_what_is_over_a_limit_is_oversized(payload: bytes) -> None:
    assert reason_for(payload) == Reason.OVERSIZED


def test_exactly_at_the_limits_is_taken() -> None:
    replies = [[f"{n:016x}", "x" * 100, ""] for n in range(5)]
    assert len(codec.decode(packed_output(*replies), "me", LIMITS).replies) == 5


def test_a_later_version_is_named_as_such_and_an_earlier_one_is_malformed() -> None:
    assert reason_for(msgpack.packb([codec.VERSION + 1, "anything", {}])) == Reason.FUTURE_VERSION
    assert reason_for(msgpack.packb([0, "output", 3, 1, []])) == Reason.MALFORMED


def test_clean_leaves_what_every_peer_accepts() -> None:
    assert codec.clean("a\r\nb\rc\x00\x1b[0m\td\ud800") == "a\nb\nc[0m\td"


@given(st.text(st.characters(codec=None), max_size=60))
def test_a_cleaned_text_is_accepted_and_its_content_id_defined(text: str) -> None:
    cleaned = codec.clean(text)
    assert codec.clean(cleaned) == cleaned
    assert codec.decode(packed_output([ID, cleaned, content_id(cleaned)]), "me", LIMITS)


def test_fitting_leaves_out_what_peers_would_refuse_and_the_longest_first() -> None:
    limits = Limits(max_record_bytes=200, max_text_chars=100, max_replies=5)
    texts = ["x" * 101, "\x00", "y" * 100, "z" * 50, "w" * 49]
    replies = tuple(Reply(f"{n:016x}", text) for n, text in enumerate(texts))
    fitting = codec.fitting(StageOutput("me", POSITION, replies), limits)
    assert [reply.text[0] for reply in fitting.replies] == ["z", "w"]
    assert codec.decode(codec.encode_output(fitting), "me", limits) == fitting


@given(outputs)
def test_fitting_leaves_a_sound_output_alone(output: StageOutput) -> None:
    assert codec.fitting(output, Limits()) == output
