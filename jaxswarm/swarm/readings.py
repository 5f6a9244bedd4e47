"""What a node has read of its peers."""

from collections.abc import Collection, Iterable

from jaxswarm.records import Position, StageOutput


class Readings:
    """Peers' outputs, of each the first one that was read: nobody changes what he has said."""

    def __init__(self, most: int):
        """`most`: kept at a time. Those of peers that are somewhere else would add up."""
        self._most = most
        self._read: dict[tuple[Position, str], StageOutput] = {}

    def lacking(self, position: Position, peers: Iterable[str]) -> list[str]:
        """Those of the peers of whom none is here for `position`."""
        return [peer for peer in peers if (position, peer) not in self._read]

    def note(self, output: StageOutput) -> None:
        """Keeps it, unless there is one in its place."""
        self._read.setdefault((output.position, output.peer), output)

    def take(self, position: Position, peers: Collection[str]) -> dict[str, StageOutput]:
        """What is here of these peers for `position`; what nobody will ask for again goes."""
        keys = {peer: (position, peer) for peer in peers}
        outputs = {peer: self._read[key] for peer, key in keys.items() if key in self._read}
        for key in [key for key in self._read if key[0].round < position.round - 1]:
            del self._read[key]
        for key in list(self._read)[: -self._most]:
            del self._read[key]
        return outputs
