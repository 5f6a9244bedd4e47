"""The settings of a swarm, as `jaxswarm.setup.settings` makes them of a config."""

from dataclasses import dataclass, field

from jaxswarm.swarm.access import Access


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may send and have kept, and what a node reads: the same in all of a swarm.

    A larger record is refused whole, never cut. hivemind fails between 4 and 5 MB a message.
    """

    max_record_bytes: int = 512 * 1024
    """One packed record, without its signature."""
    max_text_chars: int = 16 * 1024
    """Of one reply."""
    max_replies: int = 256
    """Of one output."""
    max_ttl_s: float = 24 * 3600.0
    """How long a record may ask to be kept, counted from when it is seen."""
    max_heartbeat_bytes: int = 2048
    """One heartbeat, of which many lie under one key."""
    max_heartbeat_ttl_s: float = 600.0
    """As `max_ttl_s`, of heartbeats."""
    max_kept: int = 64
    """Records of one peer that a node keeps for others."""
    max_kept_bytes: int = 8 << 20
    """Their bytes."""
    max_kept_bytes_in_all: int = 256 << 20
    """Of all peers together."""
    max_members: int = 128
    """Peers under one key."""
    place_s: float = 5.0
    """A peer that has used up its share gets a place anew so long after it took its oldest one."""
    split_members: int = 32
    """Members of a bucket of their list, beyond which it is split."""
    max_heard: int = 768
    """Peers of whom the last heartbeat is remembered."""
    max_partners: int = 16
    """Others whose outputs a stage reads."""


@dataclass(frozen=True, slots=True)
class DhtConfig:
    """How a node stands in the network. Times in seconds."""

    name: str
    """Of the swarm; several swarms can share peers."""
    identity_path: str
    """The node's key, made when missing."""
    identity_backup: str = ""
    """Its second place; "" for none."""
    initial_peers: tuple[str, ...] = ()
    """Multiaddresses of nodes to join, each ending in /p2p/<id>; with none a swarm is started."""
    host_maddrs: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    """Where to listen; port 0 takes a free one."""
    announce_maddrs: tuple[str, ...] = ()
    """What others are told to dial, where that differs; with them the node relays for others."""
    use_relay: bool = True
    """Others may be reached through relays."""
    use_auto_relay: bool = False
    """This node can't be reached itself and looks for a relay."""
    client_mode: bool = False
    """This node stores nothing for others and takes no calls."""
    contacts_path: str = ""
    """Where it notes its port and its peers' addresses for its next start; "": nowhere."""
    startup_timeout_s: float = 60.0
    """For the p2p daemon."""
    call_timeout_s: float = 10.0
    """For one store or one look-up over the network."""
    heartbeat_s: float = 5.0
    """Between two heartbeats."""
    member_ttl_s: float = 30.0
    """Silence after which a peer counts as gone."""
    output_ttl_s: float = 3600.0
    """How long outputs are kept: longer than a round."""
    poll_s: float = 1.0
    """Between two looks while waiting."""
    watch_s: float = 2.0
    """Between two checks of the daemon."""
    retry_s: float = 30.0
    """The longest pause between two attempts to reach a peer."""
    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)
    """Who belongs to the swarm."""
