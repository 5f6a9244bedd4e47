"""Nodes on separate hosts: slow and lossy lines, a NAT, a network that falls apart and heals."""

from collections.abc import Callable, Iterator, Sequence

import pytest

from jaxswarm.records import STAGES, Position
from tests.swarm.hosts import Host, WideAreaNetwork, why_not
from tests.swarm.node_process import NodeProcess, until
from tests.swarm.swarm_steps import all_but_own, announce, run_stage

Make = Callable[..., NodeProcess]

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ANSWER = Position(0, 0)
ANYWHERE = ("/ip4/0.0.0.0/tcp/0",)
PORT = 31_000
ENOUGH_RELAYS = 4
"""Of fewer the daemon takes one only after three minutes of looking for others."""
DEFAULTS = {
    "host_maddrs": ANYWHERE,
    "call_timeout_s": 10.0,
    "heartbeat_s": 5.0,
    "member_ttl_s": 30.0,
    "poll_s": 1.0,
}
"""Those of a run, not of a hasty test."""


@pytest.fixture
def network(request: pytest.FixtureRequest) -> Iterator[WideAreaNetwork]:
    """A network; the parameter holds its arguments."""
    if reason := why_not():
        pytest.skip(reason)
    made = WideAreaNetwork(**getattr(request, "param", {}))
    yield made
    made.close()


def stages(rounds: int) -> list[Position]:
    return [Position(round_, index) for round_ in range(rounds) for index in range(len(STAGES))]


def on(host: Host, node: Make, name: str, **settings) -> NodeProcess:
    return node(name, namespace=host.namespace, **(DEFAULTS | settings))


@pytest.mark.parametrize("network", [{"delay_s": 0.2, "loss": 0.05}], indirect=True)
def test_rounds_complete_over_lines_with_200_ms_delay_and_5_percent_loss(
    network: WideAreaNetwork, node: Make
) -> None:
    a = on(network.host(), node, "a").join()
    joins = {"initial_peers": (a.maddr,)}
    b, c = (on(network.host(), node, name, **joins).join() for name in "bc")
    announce(ANSWER, a, b, c)
    for position in stages(2):
        assert run_stage(position, a, b, c) == all_but_own(a, b, c)
    assert network.carried() > 100


@pytest.mark.parametrize("network", [{"delay_s": 0.05}], indirect=True)
def test_nodes_behind_two_nats_take_part_through_one_that_can_be_reached(
    network: WideAreaNetwork, node: Make
) -> None:
    a = on(network.host(), node, "a").join()
    joins = {"initial_peers": (a.maddr,), "use_auto_relay": True}
    b, c = (on(network.host_behind_nat(), node, name, **joins).join() for name in "bc")
    announce(ANSWER, a, b, c)
    for position in stages(2):
        assert run_stage(position, a, b, c) == all_but_own(a, b, c)


@pytest.mark.parametrize("network", [{"delay_s": 0.05}], indirect=True)
def test_through_a_relay_others_join_by_a_node_behind_a_nat(
    network: WideAreaNetwork, node: Make
) -> None:
    relays: list[NodeProcess] = []
    for index in range(ENOUGH_RELAYS):
        host = network.host()
        addresses = {
            "initial_peers": tuple(relay.maddr for relay in relays),
            "host_maddrs": (f"/ip4/0.0.0.0/tcp/{PORT}",),
            "announce_maddrs": (f"/ip4/{host.address}/tcp/{PORT}",),
        }
        relays.append(on(host, node, f"relay-{index}", **addresses).join())
    joins = {
        "initial_peers": tuple(relay.maddr for relay in relays),
        "use_auto_relay": True,
    }
    b = on(network.host_behind_nat(), node, "b", **joins).join()
    relayed = until(lambda: [maddr for maddr in b.call("maddrs") if "/p2p-circuit/" in maddr])
    c = on(network.host_behind_nat(), node, "c", initial_peers=(relayed[0],)).join()
    nodes = (*relays, b, c)
    announce(ANSWER, *nodes)
    for position in stages(2):
        assert run_stage(position, *nodes) == all_but_own(*nodes)


def play_until(nodes: Sequence[NodeProcess], condition: Callable[[], bool]) -> None:
    until(lambda: [node.plays() for node in nodes] and condition(), 120.0)


@pytest.mark.parametrize(
    ("few", "many", "ahead"), [(2, 3, "few"), (2, 3, "many"), (2, 2, "few"), (1, 2, "few")]
)
def test_two_halves_go_on_and_play_together_within_two_rounds_after_the_network_heals(
    network: WideAreaNetwork, node: Make, few: int, many: int, ahead: str
) -> None:
    """Whoever is ahead, by four rounds or more, and whether they are few or many."""
    hosts = [network.host() for _ in range(few + many)]
    settings = {"member_ttl_s": 6.0, "call_timeout_s": 3.0, "heartbeat_s": 1.0, "poll_s": 0.5}
    first = on(hosts[0], node, "n0", **settings).join()
    joins = {"initial_peers": (first.maddr,), **settings}
    rest = [on(host, node, f"n{index}", **joins) for index, host in enumerate(hosts[1:], 1)]
    nodes = [first, *(each.join() for each in rest)]
    halves = {"few": nodes[:few], "many": nodes[few:]}
    fast = halves.pop(ahead)
    (slow,) = halves.values()
    everybody = {each.directory.name for each in nodes}

    def together_in(each: NodeProcess) -> set[int]:
        """The rounds in which a node has read all others."""
        return {at.round for at, texts in each.played if texts == everybody - {each.directory.name}}

    for each in nodes:
        each.live(stage_s=1.0)
    play_until(nodes, lambda: all(max(together_in(each), default=0) >= 1 for each in nodes))

    network.cut(hosts[:few])
    cut_at = max(each.plays().round for each in nodes)
    for each in fast:
        each.live(stage_s=0.2)
    for each in slow:
        each.live(stage_s=4.0)
    play_until(
        nodes,
        lambda: (
            min(each.plays().round for each in slow) > cut_at
            and min(each.plays().round for each in fast)
            >= max(each.plays().round for each in slow) + 4
        ),
    )

    for each in nodes:
        each.live(stage_s=3.0)
    network.heal()
    went_to = fast if len(fast) >= len(slow) else slow
    # The stage after the last that was played is the one they are in.
    healed_at = max(each.plays().next().round for each in went_to)
    before = {each.directory.name: len(each.played) for each in nodes}

    def reached() -> set[int]:
        """The rounds in which all have read all others since the network is whole."""
        since = [
            {
                at.round
                for at, texts in each.played[before[each.directory.name] :]
                if texts == everybody - {each.directory.name}
            }
            for each in nodes
        ]
        return set.intersection(*since)

    play_until(nodes, lambda: bool(reached()))
    assert min(reached()) <= healed_at + 2, {
        each.directory.name: each.played[before[each.directory.name] :] for each in nodes
    }
