"""The XML-like tags of a reply: which a stage asks for, how to read them, how to disarm them."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from jaxswarm.records import Stage

REPLY_TAGS: Mapping[Stage, tuple[str, ...]] = MappingProxyType(
    {
        Stage.ANSWER: ("think", "answer"),
        Stage.CRITIQUE: ("compare", "explain", "identify"),
        Stage.RESOLVE: ("summarize_feedback", "majority", "question", "think", "answer"),
    }
)
"""The tags that a reply must hold, in this order, each once."""

_ANY_TAG = re.compile(
    "</?(?:" + "|".join(sorted({tag for tags in REPLY_TAGS.values() for tag in tags})) + ")>"
)

# Square brackets stay legible to a model, cost one token each, and open neither a tag nor a
# chat template's control token such as <|im_end|>.
_DISARM = str.maketrans("<>", "[]")


def last_tag(text: str, tag: str) -> str | None:
    """The content of the last complete `<tag>...</tag>`, stripped; None where there is none.

    Of nested or repeated openings the innermost, latest one counts; a closing tag too many is
    ignored.
    """
    opening, closing = f"<{tag}>", f"</{tag}>"
    start = text.rfind(opening, 0, max(text.rfind(closing), 0))
    if start < 0:
        return None
    start += len(opening)
    return text[start : text.find(closing, start)].strip()


def is_well_formed(stage: Stage, reply: str) -> bool:
    """Whether the reply is exactly the stage's tags in order, and white space around them.

    What stands inside a tag may run over any number of lines, but holds no tag of any stage.
    """
    wanted = [mark for tag in REPLY_TAGS[stage] for mark in (f"<{tag}>", f"</{tag}>")]
    # Text and tags take turns: the even pieces lie outside, before, between and after the tags.
    outside = _ANY_TAG.split(reply)[::2]
    return _ANY_TAG.findall(reply) == wanted and not any(piece.strip() for piece in outside)


def disarm(text: str) -> str:
    """A stranger's text, unable to form a tag, a control token or an unprintable character.

    Line ends of every kind become "\\n"; all else that can't be printed (control characters,
    direction marks, lone surrogates) becomes a blank.
    """
    lines = (
        "".join(letter if letter.isprintable() else " " for letter in line)
        for line in text.splitlines()
    )
    return "\n".join(lines).translate(_DISARM)
