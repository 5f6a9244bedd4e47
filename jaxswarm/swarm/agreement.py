"""Whether a node and its swarm have the same manifest: settled once, and never by strangers."""

from collections.abc import Sequence

from jaxswarm.errors import InputError
from jaxswarm.swarm import manifest
from jaxswarm.swarm.manifest import Fields
from jaxswarm.swarm.uplink import OnEvent, Uplink


class Agreement:
    """Compares this node's manifest with those that it hears, until it has agreed with its swarm.

    Who starts a swarm sets its manifest. Who comes back to one has agreed with those it met there.
    From then on others that differ are told of, and stop nobody.
    """

    def __init__(self, own: Fields, uplink: Uplink, on_event: OnEvent):
        """`uplink`: knows whom the node was told of, and whom it met in an earlier life."""
        self._own = own
        self._uplink = uplink
        self._on_event = on_event
        told, met = uplink.told_of, uplink.met_before
        is_known = not told or bool(told & met)
        came_back = uplink.agreed_before == manifest.mark(own) and is_known
        self.is_settled = came_back or not told | met
        self._has_told = False

    def hear(self, heard: Sequence[tuple[str, Fields]]) -> None:
        """Takes note of the manifests of live peers, by their ids.

        Raises:
          InputError: it is not settled yet, and they differ.
        """
        deciding = self._deciding(heard)
        try:
            manifest.check(self._own, deciding)
        except InputError as error:
            if not self.is_settled:
                raise
            if not self._has_told:
                self._on_event(f"{error}; this node has agreed with its swarm and goes on")
            self._has_told = True
        else:
            self.is_settled |= bool(deciding)
            self._has_told &= not deciding

    def _deciding(self, heard: Sequence[tuple[str, Fields]]) -> list[Fields]:
        """Those of the initial peers; else of whom this node met before; else of all.

        Strangers tell it nothing while it is in touch with none of these, and a single stranger
        never does: an initial peer may just not have been heard yet.
        """
        for known in (self._uplink.told_of, self._uplink.met_before):
            if said := [fields for peer, fields in heard if peer in known]:
                return said
        is_told = self._uplink.is_in_touch() and len(heard) > 1
        return [fields for _, fields in heard] if is_told else []
