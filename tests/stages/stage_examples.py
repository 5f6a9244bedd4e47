"""Replies and discussions that the tests of this room share."""

from jaxswarm.records import Discussion, PeerText, Question

QUESTION_TEXT = "Tom has 3 cups and gets 4 more. How many cups does Tom have now?"
QUESTION = Question(Question.id_of(QUESTION_TEXT), QUESTION_TEXT, "7")


def answer(number: str = "7", working: str = "3+4=7") -> str:
    return f"<think>\n{working}\n</think>\n<answer>\n{number}\n</answer>\n"


def critique(name: str = "Student #0") -> str:
    return (
        "<compare>\nOne adds.\n</compare>\n<explain>\nAdding fits.\n</explain>\n"
        f"<identify>\n{name}\n</identify>\n"
    )


def resolve(name: str = "Student #0", question: str = QUESTION_TEXT, number: str = "7") -> str:
    return (
        "<summarize_feedback>\nThey agree.\n</summarize_feedback>\n"
        f"<majority>\n{name}\n</majority>\n<question>\n{question}\n</question>\n"
        f"<think>\n3+4=7\n</think>\n<answer>\n{number}\n</answer>\n"
    )


def discussion(*answers: str, votes: tuple[str, ...] = (), gold: str = "7") -> Discussion:
    """Peers p0, p1, ... who gave these answers, and critics c0, c1, ... with these votes."""
    return Discussion(
        Question(QUESTION.id, QUESTION.text, gold),
        tuple(PeerText(f"p{number}", text) for number, text in enumerate(answers)),
        tuple(PeerText(f"c{number}", critique(), vote) for number, vote in enumerate(votes)),
    )
