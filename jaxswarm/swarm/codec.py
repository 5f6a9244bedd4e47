"""Records as bytes and back. What comes from the network is sound or refused with a reason.

A payload is the msgpack list [version, kind, ...]; no other format is ever read. The same record
packs to the same bytes, always. Who signed it and under which key it lay is the gate's to judge.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgpack

from jaxswarm.records import NONE_RIGHT, STAGES, Position, Reply, StageOutput
from jaxswarm.swarm.config import Limits
from jaxswarm.swarm.manifest import Fields
from jaxswarm.swarm.refusal import Reason, RefusedError

VERSION = 1
"""Of the packing. What peers mean by it is `manifest.PROTOCOL`."""

MAX_ROUND = 2**40
MAX_FIELDS = 16
MAX_FIELD_CHARS = 256

_HEARTBEAT, _OUTPUT = "heartbeat", "output"
_ID = re.compile(r"[0-9a-f]{16}")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters without newline and tab, and halves of surrogate pairs, which UTF-8 lacks."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a node says of itself every few seconds.

    `gone`: it leaves. `session`: when its process started, in milliseconds since 1970; by it a
    node notices that its identity is in use elsewhere.
    """

    position: Position
    published: bool
    waiting: bool
    gone: bool
    session: int
    manifest: Fields


def clean(text: str) -> str:
    """`text` without what no peer would accept: control characters and lone surrogates.

    A node applies it to its own texts before anything is derived from them, so that it and its
    peers name an answer by the same content. Line ends become newlines.
    """
    return _FORBIDDEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def fitting(output: StageOutput, limits: Limits) -> StageOutput:
    """`output` without what no peer would accept: unsound replies, the longest if too large."""
    replies = [reply for reply in output.replies if _is_sound(reply, limits)][: limits.max_replies]
    fits = StageOutput(output.peer, output.position, tuple(replies))
    while len(encode_output(fits)) > limits.max_record_bytes:
        replies.remove(max(replies, key=lambda reply: len(reply.text)))
        fits = StageOutput(output.peer, output.position, tuple(replies))
    return fits


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    position = [heartbeat.position.round, heartbeat.position.stage_index]
    flags = [heartbeat.published, heartbeat.waiting, heartbeat.gone]
    return _pack([VERSION, _HEARTBEAT, *position, *flags, heartbeat.session, heartbeat.manifest])


def encode_output(output: StageOutput) -> bytes:
    position = [output.position.round, output.position.stage_index]
    replies = [[reply.question_id, reply.text, reply.vote] for reply in output.replies]
    return _pack([VERSION, _OUTPUT, *position, replies])


def decode(payload: bytes, peer: str, limits: Limits) -> Heartbeat | StageOutput:
    """The record that `peer` signed.

    Raises:
      RefusedError: oversized, malformed or of a future version. Nothing else, whatever the bytes.
    """
    if len(payload) > limits.max_record_bytes:
        raise RefusedError(Reason.OVERSIZED)
    try:
        parts = msgpack.unpackb(payload, raw=False, strict_map_key=True)
    except (ValueError, TypeError) as error:  # all that msgpack raises on foreign bytes
        raise RefusedError(Reason.MALFORMED) from error
    _require(isinstance(parts, list) and len(parts) >= 2 and type(parts[0]) is int)
    if parts[0] > VERSION:
        raise RefusedError(Reason.FUTURE_VERSION)
    _require(parts[0] == VERSION)
    match parts[1:]:
        case [str(kind), *body] if kind == _HEARTBEAT and len(body) == 7:
            if len(payload) > limits.max_heartbeat_bytes:
                raise RefusedError(Reason.OVERSIZED)
            return _heartbeat(body)
        case [str(kind), *body] if kind == _OUTPUT and len(body) == 3:
            return _output(body, peer, limits)
    raise RefusedError(Reason.MALFORMED)


def _heartbeat(body: list[Any]) -> Heartbeat:
    round_, stage_index, published, waiting, gone, session, manifest = body
    _require(all(type(flag) is bool for flag in (published, waiting, gone)))
    _require(type(session) is int and 0 <= session < 2**63)
    _require(isinstance(manifest, list) and len(manifest) <= MAX_FIELDS)
    for pair in manifest:
        _require(isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is str)
        _require(type(pair[1]) in (int, str))
        _require(all(_is_text(part, MAX_FIELD_CHARS) for part in pair if type(part) is str))
    names = [name for name, _ in manifest]
    _require(all(a < b for a, b in pairwise(names)))  # so equal manifests have equal fields
    fields = tuple((name, value) for name, value in manifest)
    position = _position(round_, stage_index)
    return Heartbeat(position, published, waiting, gone, session, fields)


def _output(body: list[Any], peer: str, limits: Limits) -> StageOutput:
    round_, stage_index, packed = body
    position = _position(round_, stage_index)
    _require(isinstance(packed, list))
    if len(packed) > limits.max_replies:
        raise RefusedError(Reason.OVERSIZED)
    for item in packed:
        _require(
            isinstance(item, list) and len(item) == 3 and all(type(part) is str for part in item)
        )
    replies = tuple(Reply(*item) for item in packed)
    if any(len(reply.text) > limits.max_text_chars for reply in replies):
        raise RefusedError(Reason.OVERSIZED)
    _require(all(_is_sound(reply, limits) for reply in replies))
    return StageOutput(peer, position, replies)


def _position(round_: Any, stage_index: Any) -> Position:
    _require(type(round_) is int and 0 <= round_ < MAX_ROUND)
    _require(type(stage_index) is int and 0 <= stage_index < len(STAGES))
    return Position(round_, stage_index)


def _is_sound(reply: Reply, limits: Limits) -> bool:
    return (
        _ID.fullmatch(reply.question_id) is not None
        and (reply.vote in ("", NONE_RIGHT) or _ID.fullmatch(reply.vote) is not None)
        and _is_text(reply.text, limits.max_text_chars)
    )


def _is_text(text: str, max_chars: int) -> bool:
    return len(text) <= max_chars and _FORBIDDEN.search(text) is None


def _require(condition: bool) -> None:
    if not condition:
        raise RefusedError(Reason.MALFORMED)


def _pack(parts: list[Any]) -> bytes:
    packed = msgpack.packb(parts)
    assert isinstance(packed, bytes)
    return packed
