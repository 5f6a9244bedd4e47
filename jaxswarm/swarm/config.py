"""The settings of a swarm, as `jaxswarm.settings` makes them of a config."""

from dataclasses import dataclass, field

from jaxswarm.swarm.access import Access


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer's record may be at most. What is larger is refused whole, never cut.

    `max_record_bytes` bounds one packed record, without its signature; hivemind fails between 4 and
    5 MB a message. `max_text_chars` bounds one reply, `max_replies` the replies of one output.
    `max_ttl_s` bounds how long a record may ask to be kept, counted from when it is seen.
    `max_heartbeat_bytes` and `max_heartbeat_ttl_s` are the same for heartbeats, of which many lie
    under one key.

    What a node keeps for others is bounded too: `max_kept` records and `max_kept_bytes` of one
    peer, `max_kept_bytes_in_all`, and `max_members` peers under one key. A peer that has used up
    its share gets a place anew `place_s` after it took its oldest one.

    So is what it asks of the swarm: the list of members is split where a bucket has more than
    `split_members`, of `max_heard` peers the last heartbeat is remembered, and a stage reads the
    outputs of `max_partners` others. Nodes of a swarm should agree in these.
    """

    max_record_bytes: int = 512 * 1024
    max_text_chars: int = 16 * 1024
    max_replies: int = 256
    max_ttl_s: float = 24 * 3600.0
    max_heartbeat_bytes: int = 2048
    max_heartbeat_ttl_s: float = 600.0
    max_kept: int = 64
    max_kept_bytes: int = 8 << 20
    max_kept_bytes_in_all: int = 256 << 20
    max_members: int = 128
    place_s: float = 5.0
    split_members: int = 32
    max_heard: int = 768
    max_partners: int = 16


@dataclass(frozen=True, slots=True)
class DhtConfig:
    """How a node stands in the network. Times in seconds.

    `name`: the swarm's name; several swarms can share peers. `identity_path`: the node's key, made
    when missing; `identity_backup`: its second place, "" for none. `initial_peers`: multiaddrs of
    nodes to join, each ending in /p2p/<id>; with none a swarm is started. `host_maddrs`: where to
    listen; port 0 takes a free one. `announce_maddrs`: what others are told to dial, where that
    differs; with them it relays for others. `use_relay`: others may be reached through relays.
    `use_auto_relay`: this node can't be reached itself and looks for a relay. `client_mode`: this
    node stores nothing for others and takes no calls. `contacts_path`: where it notes its port and
    its peers' addresses, to find them again after a restart; "": nowhere. `access`: who belongs to
    the swarm.

    `startup_timeout_s`: for the p2p daemon. `call_timeout_s`: for one store or one look-up over
    the network. `heartbeat_s`: between two heartbeats. `member_ttl_s`: silence after which a peer
    counts as gone. `output_ttl_s`: how long outputs are kept, longer than a round. `poll_s`:
    between two looks while waiting. `watch_s`: between two checks of the daemon. `retry_s`: the
    longest pause between two attempts to reach an initial peer.
    """

    name: str
    identity_path: str
    identity_backup: str = ""
    initial_peers: tuple[str, ...] = ()
    host_maddrs: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    announce_maddrs: tuple[str, ...] = ()
    use_relay: bool = True
    use_auto_relay: bool = False
    client_mode: bool = False
    contacts_path: str = ""
    startup_timeout_s: float = 60.0
    call_timeout_s: float = 10.0
    heartbeat_s: float = 5.0
    member_ttl_s: float = 30.0
    output_ttl_s: float = 3600.0
    poll_s: float = 1.0
    watch_s: float = 2.0
    retry_s: float = 30.0
    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)
