"""Where this node listened and where its peers were reached, kept over restarts; whom to dial when.

With it a swarm comes together again after all of its nodes were down, the first one included, and
whatever ports they take.
"""

import contextlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

MAX_PEERS = 32
"""Peers remembered, those met last; one that answers leads to all others."""
FIRST_RETRY_S = 2.0

_MAX_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Contacts:
    """What is remembered of one swarm.

    `hosts`: the addresses on which this node listened, with real ports. `asked`: those that it was
    told to listen on then. `peers`: by id, an address that led to the peer; the one met last is the
    last. `manifest`: the mark of what this node had in common with them; "" if it is not known.
    """

    swarm: str
    asked: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    peers: tuple[tuple[str, str], ...] = ()
    manifest: str = ""

    def met(self, peers: Mapping[str, str]) -> "Contacts":
        """With these peers and their addresses as those met last.

        Where they are too many, those that are remembered keep their places as long as they are
        met: a crowd of newcomers displaces nobody.
        """
        gone = {peer: maddr for peer, maddr in self.peers if peer not in peers}
        kept = {peer: peers[peer] for peer, _ in self.peers if peer in peers}
        new = {peer: maddr for peer, maddr in peers.items() if peer not in kept}
        known = dict(list((kept | new).items())[:MAX_PEERS])
        old = list(gone.items())[max(0, len(gone) + len(known) - MAX_PEERS) :]
        return replace(self, peers=(*old, *known.items()))


def read(path: Path, swarm: str) -> Contacts:
    """What the file says of this swarm; nothing if it is missing, torn, or of another swarm.

    An address in it may be anything: it is dialled or listened on, never trusted.
    """
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_FILE_BYTES))
        if found["swarm"] == swarm:
            return Contacts(
                swarm,
                tuple(map(str, found["asked"])),
                tuple(map(str, found["hosts"])),
                manifest=str(found.get("manifest", "")),
            ).met({str(peer): str(maddr) for peer, maddr in found["peers"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return Contacts(swarm)


def write(path: Path, contacts: Contacts) -> None:
    """Replaces the file whole.

    Raises:
      OSError: it can't be written; the one before stays.
    """
    document = {
        "swarm": contacts.swarm,
        "asked": contacts.asked,
        "hosts": contacts.hosts,
        "peers": dict(contacts.peers),
        "manifest": contacts.manifest,
    }
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(document, indent=1) + "\n")
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


class Redial:
    """When to dial again whom: at once when lost, then at growing pauses until there is an answer.

    Times in seconds of one monotonic clock.
    """

    def __init__(self, longest_pause_s: float):
        self._longest_pause_s = longest_pause_s
        self._pause_s: dict[str, float] = {}
        self._at: dict[str, float] = {}

    def due(self, lost: Collection[str], now: float) -> list[str]:
        """Those of the lost addresses that are to be dialled now. All others are forgotten."""
        for maddr in self._at.keys() - set(lost):
            del self._at[maddr], self._pause_s[maddr]
        return [maddr for maddr in lost if self._at.get(maddr, now) <= now]

    def tried(self, dialled: Collection[str], answered: Collection[str], now: float) -> None:
        """Notes who answered of those that were dialled."""
        for maddr in dialled:
            if maddr in answered:
                self._pause_s.pop(maddr, None)
                self._at.pop(maddr, None)
                continue
            pause_s = min(self._pause_s.get(maddr, FIRST_RETRY_S), self._longest_pause_s)
            self._at[maddr] = now + pause_s
            self._pause_s[maddr] = 2 * pause_s
