"""The verifier: what number a reply gives as its final answer, and whether it is the right one."""

import re
import unicodedata

from jaxswarm.stages.tags import last_tag

_NUMBER = re.compile(
    r"""
    (?P<sign>[-+]?) (?P<whole>[0-9]{1,3}(?:,[0-9]{3})+ | [0-9]*)  # 1,080 or 1080; 1,08 is refused
    (?:\.(?P<part>[0-9]+))?
    """,
    re.VERBOSE,
)


def normalise(text: str) -> str | None:
    """A number's one plain spelling, so that equal spellings are equal numbers.

    "$1,080" -> "1080", "18.00" -> "18", " -$16. " -> "-16", ".50" -> "0.5". Unicode is folded by
    NFKC, and the minus sign U+2212 is read as "-". Refused: per cent signs, units, exponents,
    fractions, several numbers, commas that don't part thousands, and superscripts, since NFKC
    would make 52 of 5².

    Returns:
      Digits with at most a leading "-" and one point, without needless zeros; None for all else.
    """
    if any(unicodedata.decomposition(letter).startswith(("<super>", "<sub>")) for letter in text):
        return None
    folded = unicodedata.normalize("NFKC", text).replace("\u2212", "-").strip()
    # "$-16" and "-$16" are both in use.
    bare = re.sub(r"^([-+]?)\s*\$\s*", r"\1", folded.removesuffix("."))
    number = _NUMBER.fullmatch(bare.removesuffix("$").rstrip())
    if number is None:
        return None
    whole, part = number["whole"].replace(",", ""), number["part"] or ""
    if not whole + part:
        return None
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    plain = f"{whole}.{part}" if part else whole
    return f"-{plain}" if number["sign"] == "-" and plain != "0" else plain


def final_answer(reply: str) -> str | None:
    """The number in the last complete answer tag, normalised; None where it is no one number."""
    content = last_tag(reply, "answer")
    return None if content is None else normalise(content)


def is_correct(reply: str, gold: str) -> bool:
    """Whether the reply's final answer is the number `gold` (normalised, as in `Question.gold`)."""
    return final_answer(reply) == gold
