from jaxswarm.records import Position
from jaxswarm.swarm.readings import Readings
from tests.swarm.node_process import output


def test_of_a_peer_the_first_output_stays_and_two_rounds_are_kept() -> None:
    readings = Readings(most=3)
    for round_ in range(3):
        readings.note(output("a", Position(round_, 0), "first"))
        readings.note(output("a", Position(round_, 0), "second"))
    assert readings.lacking(Position(1, 0), ("a", "b")) == ["b"]
    at = Position(2, 0)
    assert readings.take(at, ("a", "b")) == {"a": output("a", at, "first")}
    lacking = [readings.lacking(Position(round_, 0), ("a",)) for round_ in range(3)]
    assert lacking == [["a"], [], []]


def test_the_oldest_go_where_there_are_too_many() -> None:
    readings = Readings(most=3)
    at = Position(0, 0)
    for peer in "abcde":
        readings.note(output(peer, at, "t"))
    assert readings.take(at, "abcde").keys() == set("abcde")
    assert readings.lacking(at, "abcde") == ["a", "b"]
