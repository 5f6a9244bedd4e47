"""Keeps a node in touch with the network, whatever dies: its daemon, its peers, the way to them.

Nothing here ends the node once it has started. What fails is said once and tried again.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from random import Random

from jaxswarm.errors import InputError
from jaxswarm.swarm import clocks, contacts
from jaxswarm.swarm.access import SAME_ACCESS
from jaxswarm.swarm.addresses import is_host, is_loopback, leads_to, peer_in
from jaxswarm.swarm.config import DhtConfig
from jaxswarm.swarm.contacts import FIRST_RETRY_S, Contacts, Redial
from jaxswarm.swarm.dht import Link, LinkError
from jaxswarm.swarm.gate import Gate
from jaxswarm.swarm.identity import Identity

CLOCK_CHECK_S = 60.0
CLOCKS_ASKED = 5
"""Enough to tell who is wrong, however large the swarm."""
OnEvent = Callable[[str], None]


class Uplink:
    """A link that is watched, restarted and kept in company. All methods belong on one event loop.

    `link`: the running link; None while the daemon is being replaced. `maddrs`: the addresses by
    which others can join, those of this machine alone last. `told_of`: the ids of the initial
    peers; `met_before`, of those remembered from an earlier life; `agreed_before`: the mark of the
    manifest that they had.
    """

    def __init__(
        self,
        config: DhtConfig,
        identity: Identity,
        manifest: str,
        gate: Gate,
        on_event: OnEvent,
        live: Callable[[], Collection[str]],
        on_contact: Callable[[], None],
    ):
        """Starts nothing yet.

        Args:
          config: how to stand in the network.
          identity: of this node.
          manifest: the mark of what this node must have in common with its swarm.
          gate: through which records enter.
          on_event: gets a line for each thing that a person should know.
          live: tells the ids of the live members of the swarm.
          on_contact: called when the way to others is open again: they may lack our records.
        """
        self.link: Link | None = None
        self.maddrs: tuple[str, ...] = ()
        self._told_addresses: tuple[str, ...] = ()
        self._config = config
        self._identity = identity
        self._manifest = manifest
        self._gate = gate
        self._on_event = on_event
        self._live = live
        self._on_contact = on_contact
        self._path = Path(config.contacts_path) if config.contacts_path else None
        self._contacts = self._remembered()
        self.told_of = frozenset(map(peer_in, config.initial_peers)) - {identity.peer}
        self.met_before = frozenset(peer for peer, _ in self._contacts.peers)
        self.agreed_before = self._contacts.manifest
        self._redial = Redial(config.retry_s)
        self._complaints: frozenset[str] = frozenset()
        self._told_of: frozenset[str] = frozenset()
        self._unwritable = False
        self._had_company = False

    def _remembered(self) -> Contacts:
        """What an earlier life noted, as far as it can be dialled: the file may hold anything."""
        if not self._path:
            return Contacts(self._config.name)
        found = contacts.read(self._path, self._config.name)
        peers = tuple((peer, maddr) for peer, maddr in found.peers if leads_to(maddr) == peer)
        hosts = found.hosts if all(map(is_host, found.hosts)) else ()
        return replace(found, peers=peers, hosts=hosts)

    def is_in_touch(self) -> bool:
        """Whether there is a way to anybody whom this node knew when it started."""
        return self.link is not None and any(map(self.link.knows, self.told_of | self.met_before))

    async def start(self) -> None:
        """Starts the daemon where it listened before, if it can; dials whom it knows.

        Raises:
          InputError: an address or port can't be used, the daemon doesn't start, or the initial
            peers say that this node doesn't belong to their swarm.
        """
        try:
            self.link = await self._start_link()
            self.maddrs = self._told_addresses = await self.link.visible_maddrs()
        except LinkError as error:
            raise InputError(
                "the p2p daemon",
                got=str(error),
                expected=f"it to start within {self._config.startup_timeout_s:g} s",
                remedy="check swarm.host_maddrs, or raise swarm.startup_timeout_s",
            ) from error
        self._note_hosts(self.link)
        initial = self._config.initial_peers
        answered = await self._dial(self._known())
        if not answered:
            self._check_access(self.link)
        if initial and not answered & set(initial):
            company = f"in touch with {len(answered)} known peers" if answered else "going on alone"
            self._on_event(
                f"none of the {len(initial)} initial peers answers ({', '.join(initial)}): "
                f"{company}, trying again meanwhile"
            )

    def _check_access(self, link: Link) -> None:
        """Raises if nobody has talked to us yet, and an initial peer doesn't as we don't belong.

        One met in an earlier life may belong to another swarm by now: of that we only tell.
        """
        if self._had_company:
            return
        turned_away = {maddr: why for maddr in self._known() if (why := link.turned_away(maddr))}
        for maddr, reason in turned_away.items():
            if maddr in self._config.initial_peers:
                raise InputError(
                    f"initial peer {maddr}",
                    got=reason,
                    expected="a member of this node's swarm, private or open",
                    remedy=SAME_ACCESS,
                )
            if maddr not in self._told_of:
                self._on_event(f"{maddr}, known from before: {reason}; {SAME_ACCESS}")
        self._told_of |= turned_away.keys()

    def loops(self) -> tuple[Coroutine[None, None, None], ...]:
        """What is to run until the node leaves."""
        return self._watch_daemon(), self._keep_in_touch(), self._compare_clocks()

    async def stop(self) -> None:
        """Ends the daemon."""
        if self.link:
            await self.link.stop()

    async def _start_link(self, previous: Link | None = None) -> Link:
        """Others know this node by the port that it had; only if that is taken, by a new one."""
        known = self._contacts
        # Where it listened a moment ago it can again, unless somebody else is there by now.
        of_the_place = InputError if previous else (InputError, LinkError)
        if known.hosts and known.asked == self._config.host_maddrs != known.hosts:
            try:
                config = replace(self._config, host_maddrs=known.hosts)
                return await Link.start(config, self._identity, self._gate, previous)
            except of_the_place as error:
                self._on_event(f"can't listen where it did before ({error}): taking a new port")
        return await Link.start(self._config, self._identity, self._gate, previous)

    def _known(self) -> tuple[str, ...]:
        """The addresses of all who can be dialled: the initial peers and those met before."""
        return tuple(
            dict.fromkeys((*self._config.initial_peers, *(m for _, m in self._contacts.peers)))
        )

    def _keep(self, known: Contacts) -> None:
        """Remembers, in the file too if there is something new in it."""
        before, self._contacts = self._contacts, known
        is_news = replace(before, peers=()) != replace(known, peers=()) or dict(
            before.peers
        ) != dict(known.peers)
        if not self._path or not is_news:
            return
        try:
            contacts.write(self._path, known)
            self._unwritable = False
        except OSError as error:
            if not self._unwritable:
                self._on_event(f"can't note the peers' addresses in {self._path}: {error.strerror}")
            self._unwritable = True

    def _note_hosts(self, link: Link) -> None:
        hosts = {"asked": self._config.host_maddrs, "hosts": link.hosts}
        self._keep(replace(self._contacts, **hosts))

    def _note_addresses(self, maddrs: tuple[str, ...]) -> None:
        """Says each new one once: a relay was found, or the machine has another address."""
        self.maddrs = maddrs
        new = tuple(m for m in maddrs if m not in self._told_addresses and not is_loopback(m))
        if new:
            self._on_event(f"this node can be joined by {', '.join(new)} too")
            self._told_addresses += new

    async def _watch_daemon(self) -> None:
        while True:
            await asyncio.sleep(self._config.watch_s)
            assert self.link
            try:
                connections = await self.link.connections()
                self._note_addresses(await self.link.visible_maddrs())
            except LinkError as error:
                self._on_event(f"{error}; starting it again")
                await self._restart(self.link)
            else:
                live = self._live()
                self._had_company |= bool(live)
                peers = {peer: maddr for peer, maddr in connections.items() if peer in live}
                if peers:
                    self._keep(replace(self._contacts.met(peers), manifest=self._manifest))

    async def _restart(self, old: Link) -> None:
        """A new daemon with the same identity and ports, and the same neighbours as before."""
        self.link = None
        await old.stop()
        pause_s = FIRST_RETRY_S
        while not self.link:
            try:
                self.link = await self._start_link(old)
            except (LinkError, InputError) as error:
                self._on_event(f"the p2p daemon doesn't start again yet: {error}")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, self._config.retry_s)
        self._note_hosts(self.link)
        answered = await self._dial(self._known())
        self._on_event(f"the p2p daemon runs again; {len(answered)} peers answer")
        self._on_contact()

    async def _keep_in_touch(self) -> None:
        """Dials those that were lost or never answered."""
        while True:
            await asyncio.sleep(FIRST_RETRY_S / 2)
            live = self._live()
            lost = [maddr for maddr in self._known() if self._is_lost(maddr, live)]
            due = self._redial.due(lost, time.monotonic())
            answered = await self._dial(due)
            if answered:
                self._on_event(f"in touch with {', '.join(sorted(answered))}")
                self._on_contact()
            elif due and self.link:
                self._check_access(self.link)

    def _is_lost(self, maddr: str, live: Collection[str]) -> bool:
        """Initial peers are dialled as soon as they don't answer, others once nobody hears them."""
        peer = peer_in(maddr)
        if not self.link or self.link.knows(peer):
            return False
        return maddr in self._config.initial_peers or peer not in live

    async def _dial(self, maddrs: Iterable[str]) -> set[str]:
        """The addresses among these whose peers answered."""
        link = self.link
        others = [maddr for maddr in maddrs if peer_in(maddr) != self._identity.peer]
        if not link:
            return set()
        answers = await asyncio.gather(*(link.connect(maddr) for maddr in others))
        answered = {maddr for maddr, answer in zip(others, answers, strict=True) if answer}
        self._had_company |= bool(answered)
        self._redial.tried(others, answered, time.monotonic())
        return answered

    async def _compare_clocks(self) -> None:
        """Asks some peers for the time, soon after the first one is met and then now and then."""
        while True:
            ahead_s: dict[str, float] = {}
            if self.link:
                ahead_s = await self._clocks(self.link)
                self._complain(ahead_s)
            await asyncio.sleep(CLOCK_CHECK_S if ahead_s else FIRST_RETRY_S)

    async def _clocks(self, link: Link) -> dict[str, float]:
        try:
            # Not who is merely connected: an outsider is asked nothing.
            peers = sorted(filter(link.knows, await link.connections()))
        except LinkError:  # the watch sees to it
            return {}
        asked = Random(time.monotonic_ns()).sample(peers, min(CLOCKS_ASKED, len(peers)))
        answers = await asyncio.gather(*(link.clock_ahead_s(peer) for peer in asked))
        return {peer: s for peer, s in zip(asked, answers, strict=True) if s is not None}

    def _complain(self, ahead_s: dict[str, float]) -> None:
        """Says what is wrong with a clock, once until it was right."""
        lines = clocks.complaints(ahead_s)
        for who in lines.keys() - self._complaints:
            self._on_event(lines[who])
        right = ({"", *ahead_s} if ahead_s else set()) - lines.keys()
        self._complaints = self._complaints - right | lines.keys()
