import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jaxswarm.records import Position, Question, Reply, Score, StageOutput
from jaxswarm.report.journal import Journal, read_journal

QUESTIONS = (Question("q1", "How many are 2 and 3?", "5"), Question("q2", "And 1 and 1?", "2"))
HERE = Position(2, 1)
Q1, Q2 = Reply("q1", "It is 5.", vote="none"), Reply("q2", "<answer>\n2 € \n</answer>")


def output(peer: str, position: Position = HERE, text: str = "It is 5.") -> StageOutput:
    return StageOutput(peer, position, (replace(Q1, text=text), Q2))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_what_was_published_and_received_is_read_back_word_for_word(path: Path):
    journal = Journal(path)
    journal.published(output("me"), QUESTIONS, {Q1: Score({"format": 0.5})})
    journal.received(output("ann"), {})
    journal.received(output("bob", text="Never."), {})
    journal.close()
    state = read_journal(path, own="me", since=Position(0, 0))
    assert state.published == {HERE: output("me")}
    assert state.received == {HERE: (output("ann"), output("bob", text="Never."))}
    assert state.unreadable == ()


def test_a_published_line_reads_as_question_text_and_worth(path: Path):
    journal = Journal(path)
    scores = {Q1: Score({"correctness": 2.0, "format": 0.5})}
    journal.published(output("me"), QUESTIONS, scores)
    journal.close()
    line = json.loads(path.read_text())
    assert {name: line[name] for name in ("kind", "round", "stage", "peer")} == {
        "kind": "published",
        "round": 2,
        "stage": "critique",
        "peer": "me",
    }
    assert line["replies"][0] == {
        "question_id": "q1",
        "question": "How many are 2 and 3?",
        "gold": "5",
        "text": "It is 5.",
        "vote": "none",
        "reward": 2.5,
        "reward_parts": {"correctness": 2.0, "format": 0.5},
    }
    assert "€" in path.read_text()


def test_received_texts_carry_the_rewards_that_this_node_gives_them(path: Path):
    journal = Journal(path)
    journal.received(output("ann"), {Q2: Score({"correctness": 2.0})})
    journal.close()
    without, rewarded = json.loads(path.read_text())["replies"]
    assert "reward" not in without
    assert rewarded["reward"] == 2.0


def test_of_two_outputs_for_one_position_the_first_counts(path: Path):
    journal = Journal(path)
    journal.published(output("me"), QUESTIONS, {})
    journal.received(output("ann"), {})
    journal.published(output("me", text="Another."), QUESTIONS, {})
    journal.received(output("ann", text="Another."), {})
    journal.close()
    state = read_journal(path, own="me", since=HERE)
    assert state.published == {HERE: output("me")}
    assert state.received == {HERE: (output("ann"),)}


def test_positions_before_the_wanted_one_are_passed_over(path: Path):
    journal = Journal(path)
    for position in (Position(1, 2), HERE, Position(2, 2)):
        journal.published(output("me", position), QUESTIONS, {})
        journal.received(output("ann", position), {})
    journal.close()
    state = read_journal(path, own="me", since=HERE)
    assert list(state.published) == list(state.received) == [HERE, Position(2, 2)]


def test_what_came_late_is_read_back_where_it_came(path: Path):
    journal, answer = Journal(path), Position(2, 0)
    for position in (answer, HERE):
        journal.published(output("me", position), QUESTIONS, {})
    journal.late(output("ann", answer), HERE)
    journal.late(output("bob", Position(1, 2)), HERE)
    journal.close()
    for since in (answer, HERE):
        state = read_journal(path, own="me", since=since)
        assert state.received == {}, "as it was when the answer stage ended"
        assert state.late == {HERE: (output("ann", answer), output("bob", Position(1, 2)))}
        assert state.heard == {(answer, "ann"), (Position(1, 2), "bob")}


def test_of_what_peers_sent_only_what_a_replay_can_need_is_kept_in_memory(path: Path):
    """However far ahead of this node they are, and whatever a run that shared rollouts has read."""
    journal = Journal(path)
    journal.published(output("me"), QUESTIONS, {})
    journal.received(output("ann"), {})
    journal.offered(output("bob"), {})
    for round_ in range(3, 9):
        journal.received(output("ann", Position(round_, 0)), {})
        journal.offered(output("bob", Position(round_, 0)), {})
    journal.close()
    state = read_journal(path, own="me", since=Position(0, 0))
    assert state.heard == {(HERE, "ann")}
    assert state.unreadable == ()


def test_outputs_under_a_lost_identity_are_not_this_nodes(path: Path):
    journal = Journal(path)
    journal.published(output("old-me"), QUESTIONS, {})
    journal.close()
    state = read_journal(path, own="me", since=Position(0, 0))
    assert (state.published, state.received) == ({}, {})


def test_an_unreadable_line_is_named_and_costs_no_other(path: Path):
    journal = Journal(path)
    journal.published(output("me"), QUESTIONS, {})
    journal.close()
    with path.open("a") as file:
        file.write('{"kind": "published", "round": 3, "stage": "answer"}\n{"kind": "publi')
    journal = Journal(path)
    journal.published(output("me", Position(3, 0)), QUESTIONS, {})
    journal.close()
    state = read_journal(path, own="me", since=Position(0, 0))
    assert list(state.published) == [HERE, Position(3, 0)]
    assert state.unreadable == (2, 3)


def test_a_missing_journal_is_empty(path: Path):
    state = read_journal(path, own="me", since=Position(0, 0))
    assert (state.published, state.received, state.unreadable) == ({}, {}, ())


def test_after_a_kill_everything_that_was_said_to_be_published_is_there(path: Path):
    """The process says a position once `published` has returned, and is killed while it goes on."""
    writer = """
import itertools, sys
from pathlib import Path
from jaxswarm.report.journal import Journal
from jaxswarm.records import Position, Reply, StageOutput
journal = Journal(Path(sys.argv[1]))
for round_ in itertools.count():
    replies = tuple(Reply(f"q{n}", "text " * 200) for n in range(16))
    journal.published(StageOutput("me", Position(round_, 0), replies), (), {})
    print(round_, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", writer, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == 20:
            break
    os.kill(process.pid, signal.SIGKILL)
    last = int((line + process.stdout.read()).split()[-1])
    process.wait()
    process.stdout.close()

    state = read_journal(path, own="me", since=Position(0, 0))
    published = [position.round for position in state.published]
    assert published[: last + 1] == list(range(last + 1))
    assert all(len(output.replies) == 16 for output in state.published.values())
