"""How far the clocks of a swarm's nodes may differ, and what is said when they differ by more.

Who is alive is decided by each node's own monotonic clock, so wrong clocks kill nobody. But the DHT
keeps a record until a time that its writer's clock names: heartbeats outlive their use by twice the
skew allowed, so that they are there for readers whose clocks differ by that much.
"""

from collections.abc import Mapping

MAX_SKEW_S = 30.0
HEARTBEAT_MARGIN_S = 2 * MAX_SKEW_S
"""How long the DHT keeps a heartbeat beyond the silence after which its writer counts as gone."""


def complaints(ahead_s: Mapping[str, float]) -> dict[str, str]:
    """A line for each clock that is off, by the peer's id; "" stands for this node itself.

    Args:
      ahead_s: by how many seconds each peer's clock is ahead of this node's; negative: behind.
    """
    off = {peer: ahead for peer, ahead in ahead_s.items() if abs(ahead) > MAX_SKEW_S}
    fast, slow = ([a for a in off.values() if (a > 0) == sign] for sign in (True, False))
    for agreeing, word in ((fast, "behind"), (slow, "ahead of")):
        if len(agreeing) > 1 and 2 * len(agreeing) > len(ahead_s):
            by_s = sorted(map(abs, agreeing))[len(agreeing) // 2]
            return {
                "": f"this node's clock is {by_s:.0f} s {word} those of {len(agreeing)} of "
                f"{len(ahead_s)} peers: {_HARM} (set it by NTP)"
            }
    return {
        peer: f"the clock of peer {peer} is {abs(ahead):.0f} s "
        f"{'ahead of' if ahead > 0 else 'behind'} this node's: {_HARM} (set both by NTP)"
        for peer, ahead in off.items()
    }


_HARM = f"beyond {MAX_SKEW_S:.0f} s records get lost"
