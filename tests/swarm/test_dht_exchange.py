"""Nodes in separate processes, each with its real p2p daemon, on loopback."""

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from jaxswarm.records import NONE_RIGHT, STAGES, Position, Reply, StageOutput
from tests.swarm.node_process import NodeProcess, output, until
from tests.swarm.swarm_steps import PATIENCE_S, announce, at, run_stage, texts

Make = Callable[..., NodeProcess]

ANSWER, CRITIQUE, RESOLVE = (Position(0, index) for index in range(3))
NEXT_ANSWER = Position(1, 0)


@pytest.fixture
def pair(node: Make) -> tuple[NodeProcess, NodeProcess]:
    """Two nodes of one swarm that hear each other at the answer stage of round 0."""
    a = node("a").join()
    b = node("b", initial_peers=(a.maddr,)).join()
    announce(ANSWER, a, b)
    return a, b


def test_two_nodes_exchange_all_three_stages_and_leave_without_a_word(pair) -> None:
    a, b = pair
    for index in range(len(STAGES)):
        assert run_stage(Position(0, index), a, b) == [{"b"}, {"a"}]
    assert (a.close(), b.close()) == ("", "")
    assert (a.events, b.events) == ([], [])


def test_texts_cross_unchanged_up_to_the_largest_record_whatever_they_imitate(pair) -> None:
    a, b = pair
    forged = "[signature:AAAA] [owner:ssh-rsa AAAA] <answer>\u00bd</answer> \U0001f600"
    texts = [f"{forged} {index} ".ljust(16_000, "x") for index in range(31)]
    replies = tuple(Reply(f"{index:016x}", text, NONE_RIGHT) for index, text in enumerate(texts))
    b.call("publish", StageOutput(b.peer, ANSWER, replies))
    b.call("announce", ANSWER, True)
    (read,) = a.call("gather", ANSWER, PATIENCE_S).outputs
    assert read == StageOutput(b.peer, ANSWER, replies)


def test_a_third_that_joins_in_mid_round_waits_and_takes_part_in_the_next(node: Make, pair) -> None:
    a, b = pair
    run_stage(ANSWER, a, b)
    announce(CRITIQUE, a, b)
    c = node("c", initial_peers=(a.maddr,)).join()
    assert c.call("target", ANSWER, joining=True) == NEXT_ANSWER
    c.begin("wait_for", NEXT_ANSWER, PATIENCE_S)
    assert run_stage(CRITIQUE, a, b) == [{"b"}, {"a"}]
    assert run_stage(RESOLVE, a, b) == [{"b"}, {"a"}]
    assert a.others()[c_peer(a, b)].waiting
    a.stage(NEXT_ANSWER, "a", PATIENCE_S)
    b.stage(NEXT_ANSWER, "b", PATIENCE_S)
    c.end()
    c.stage(NEXT_ANSWER, "c", PATIENCE_S)
    assert [texts(n.end()) for n in (a, b, c)] == [{"b", "c"}, {"a", "c"}, {"a", "b"}]


def c_peer(a: NodeProcess, b: NodeProcess) -> str:
    (peer,) = a.others().keys() - {b.peer}
    return peer


def test_a_killed_node_holds_the_others_until_it_counts_as_gone(node: Make) -> None:
    a = node("a", member_ttl_s=5.0).join()
    b, c = (node(name, member_ttl_s=5.0, initial_peers=(a.maddr,)).join() for name in "bc")
    announce(ANSWER, a, b, c)
    c.kill()
    start = time.monotonic()
    assert run_stage(ANSWER, a, b) == [{"b"}, {"a"}]
    assert 2.0 < time.monotonic() - start < PATIENCE_S
    assert run_stage(CRITIQUE, a, b) == [{"b"}, {"a"}]


def test_a_silent_node_holds_the_others_no_longer_than_the_deadline(pair) -> None:
    a, b = pair
    a.stage(ANSWER, "a", deadline_s=1.0)
    gathered = a.end()
    assert gathered.missing == (b.peer,)
    assert 1.0 <= gathered.waited_s < PATIENCE_S / 4
    b.stage(ANSWER, "b")
    assert texts(b.end()) == {"a"}


def test_nobody_waits_for_a_node_that_left_in_order(pair) -> None:
    a, b = pair
    b.close()
    a.stage(ANSWER, "a", PATIENCE_S)
    gathered = a.end()
    assert gathered.outputs == gathered.missing == ()
    assert gathered.waited_s < PATIENCE_S / 4


@pytest.mark.parametrize("how", ["leave", "close"])
def test_what_a_node_had_published_when_it_left_is_read(pair, how: str) -> None:
    a, b = pair
    b.stage(ANSWER, "b", 0.5)
    b.end()
    if how == "leave":
        b.call("leave")
    else:
        b.close()
    a.stage(ANSWER, "a", PATIENCE_S)
    gathered = a.end()
    assert (texts(gathered), gathered.missing) == ({"b"}, ())
    assert gathered.waited_s < PATIENCE_S / 4
    a.stage(CRITIQUE, "a", PATIENCE_S)
    gathered = a.end()
    assert gathered.outputs == gathered.missing == ()
    assert gathered.waited_s < PATIENCE_S / 4


def test_a_node_whose_initial_peer_is_dead_goes_on_alone_and_joins_when_it_is_back(
    node: Make,
) -> None:
    a = node("a").join()
    maddr = a.maddr
    a.kill()
    b = node("b", initial_peers=(maddr,)).join()
    assert b.events == [
        f"none of the 1 initial peers answers ({maddr}): going on alone, trying again meanwhile"
    ]
    b.stage(ANSWER, "b", PATIENCE_S)
    assert b.end().waited_s < PATIENCE_S / 4

    a = node("a", host_maddrs=(maddr.rpartition("/p2p/")[0],)).join()
    assert a.maddr == maddr
    announce(CRITIQUE, a, b)
    assert b.events[1:] == [f"in touch with {maddr}"]
    assert run_stage(CRITIQUE, a, b) == [{"b"}, {"a"}]


def test_one_liar_about_its_round_moves_nobody(node: Make, pair) -> None:
    a, b = pair
    liar = node("liar", initial_peers=(a.maddr,)).join()
    liar.call("announce", Position(10**9, 0), False)
    announce(CRITIQUE, a, b)
    for honest in (a, b):
        until(lambda honest=honest: liar.peer in honest.others())
        assert honest.call("target", CRITIQUE) == CRITIQUE
    joiner = node("joiner", initial_peers=(b.maddr,)).join()
    assert joiner.call("target", ANSWER, joining=True) == NEXT_ANSWER
    assert run_stage(CRITIQUE, a, b) == [{"b"}, {"a"}]


def test_no_daemon_outlives_a_killed_node(node: Make) -> None:
    a, b = node("a").join(), node("b").join()
    daemon, control = a.daemon(), b.daemon()
    a.kill()
    until(lambda: not daemon.is_running() or daemon.status() == psutil.STATUS_ZOMBIE, 60.0)
    assert control.status() != psutil.STATUS_ZOMBIE, "that of a live node stays"


def test_a_daemon_that_dies_is_replaced_under_the_same_address(pair) -> None:
    a, b = pair
    maddr, daemon = a.maddr, a.daemon()
    daemon.kill()
    until(lambda: a.told("runs again"))
    assert a.daemon().pid != daemon.pid
    listening = {c.laddr.port for c in a.daemon().net_connections() if c.status == "LISTEN"}
    assert f"/tcp/{listening.pop()}/" in maddr
    announce(CRITIQUE, a, b)
    assert run_stage(CRITIQUE, a, b) == [{"b"}, {"a"}]


@pytest.mark.faults
def test_a_node_whose_key_file_is_removed_stays_the_same_peer(pair) -> None:
    a, b = pair
    peer, key = a.peer, a.directory / "identity.key"
    content = key.read_bytes()
    key.unlink()
    a.daemon().kill()
    until(lambda: a.told("runs again"))
    assert a.told(f"its identity file {key} was gone; written again")
    assert key.read_bytes() == content
    assert a.peer == peer
    assert run_stage(ANSWER, a, b) == [{"b"}, {"a"}]


def error_of(node: NodeProcess, method: str, *args: object) -> str:
    """The clear line by which the call failed; empty if it did not."""
    try:
        node.call(method, *args)
    except ValueError as error:
        return str(error)
    return ""


def test_announced_addresses_a_relay_client_and_client_mode_take_part(node: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"/ip4/127.0.0.1/tcp/{probe.getsockname()[1]}"
    a = node("a", host_maddrs=(address,), announce_maddrs=(address,)).join()
    assert a.call("maddrs") == (f"{address}/p2p/{a.peer}",)
    b = node("b", initial_peers=(a.maddr,), use_auto_relay=True).join()
    c = node("c", initial_peers=(a.maddr,), client_mode=True).join()
    announce(ANSWER, a, b, c)
    assert run_stage(ANSWER, a, b, c) == [{"b", "c"}, {"a", "c"}, {"a", "b"}]


def test_ctrl_c_in_the_nodes_terminal_does_not_reach_the_daemon(node: Make) -> None:
    """A terminal signals the process group in its foreground."""
    a = node("a").join()
    assert os.getpgid(a.daemon().pid) != os.getpgid(a.pid)


def test_after_a_restart_the_same_output_is_no_news_and_another_is_not_read(
    node: Make, pair
) -> None:
    a, b = pair
    run_stage(ANSWER, a, b)
    b.kill()
    b = node("b", initial_peers=(a.maddr,)).join()
    b.call("publish", output(b.peer, ANSWER, "b"))
    assert texts(b.call("gather", ANSWER, 5.0)) == {"a"}
    b.call("publish", output(b.peer, ANSWER, "another"))
    b.call("announce", ANSWER, True)
    assert texts(a.call("gather", ANSWER, 5.0)) == {"b"}


def test_a_joiner_with_another_manifest_is_told_the_field(node: Make) -> None:
    a = node("a").join()
    a.call("announce", ANSWER, False)
    b = node("b", initial_peers=(a.maddr,), manifest={"question_seed": 8})
    with pytest.raises(ValueError, match=r"field 'question_seed': got 8; expected 7"):
        b.join()
    until(lambda: not psutil.Process(b.pid).children())


@pytest.mark.slow
def test_another_manifest_is_noticed_when_the_initial_peer_comes_back(node: Make) -> None:
    a = node("a").join()
    maddr = a.maddr
    a.kill()
    b = node("b", initial_peers=(maddr,), manifest={"prompts": "full 1"}).join()
    a = node("a", host_maddrs=(maddr.rpartition("/p2p/")[0],)).join()
    a.call("announce", ANSWER, False)
    line = until(lambda: error_of(b, "target", ANSWER), PATIENCE_S)
    assert "field 'prompts': got 'full 1'; expected 'terse 1'" in line


def test_an_identity_in_use_on_this_machine_is_refused(node: Make, tmp_path: Path) -> None:
    a = node("a").join()
    twin = node("twin", identity_path=str(tmp_path / "a" / "identity.key"))
    with pytest.raises(ValueError, match="in use by a live node on this machine"):
        twin.join()
    a.call("announce", ANSWER, False)


def test_a_copied_identity_makes_the_younger_node_give_way(
    node: Make, pair, tmp_path: Path
) -> None:
    a, b = pair
    (tmp_path / "twin").mkdir()
    shutil.copy(tmp_path / "b" / "identity.key", tmp_path / "twin" / "identity.key")
    twin = node("twin", initial_peers=(a.maddr,))
    line = error_of(twin, "join") or until(lambda: error_of(twin, "target", ANSWER), PATIENCE_S)
    assert "in use by a live node elsewhere" in line
    twin.close()
    assert run_stage(CRITIQUE, a, b) == [{"b"}, {"a"}]


def test_a_node_whose_clock_was_set_back_between_two_runs_is_soon_heard_again(
    node: Make, pair
) -> None:
    """Far enough that the heartbeats of its earlier run outlive the patience of this test."""
    a, b = pair
    b.call("set_clock", 200.0)
    b.call("announce", CRITIQUE, False)
    until(lambda: b.peer in at(a, CRITIQUE))
    b.kill()
    b = node("b", initial_peers=(a.maddr,)).join()
    announce(NEXT_ANSWER, a, b)
    assert run_stage(NEXT_ANSWER, a, b) == [{"b"}, {"a"}]


@pytest.mark.slow
def test_a_port_in_use_is_named(node: Make) -> None:
    a = node("a").join()
    b = node("b", host_maddrs=(a.maddr.rpartition("/p2p/")[0],))
    with pytest.raises(ValueError, match=r"swarm.host_maddrs: got .*Address already in use"):
        b.join()
