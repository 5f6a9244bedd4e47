"""The files by which a node tells other programs about itself, and their fields.

A run directory holds, of one node: `node.json` and `summary.json` (here), `status.json`
(status.py), `metrics.jsonl` and TensorBoard's events (metrics.py), `journal.jsonl` (journal.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxswarm.report.files import as_document, read_json, replace_json

NODE_FILE = "node.json"
SUMMARY_FILE = "summary.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCard:
    """Who a running node is, and how others reach it. Written when it has joined its swarm."""

    peer: str
    addresses: tuple[str, ...]
    """Its multiaddresses, the one for `initial_peers` first; empty for a solo run."""
    pid: int

    def write(self, directory: Path) -> None:
        """Raises: InputError where the file can't be written."""
        replace_json(directory / NODE_FILE, as_document(self))

    @staticmethod
    def read(directory: Path) -> "NodeCard | None":
        """None where there is no such file, or none of this version."""
        document = read_json(directory / NODE_FILE)
        try:
            values = dict(document or {})
            return NodeCard(addresses=tuple(values.pop("addresses")), **values)
        except (KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a node has done, written at its end."""

    finished: bool
    """All rounds were done; False: it was asked to stop before."""
    rounds: int
    questions: int
    mean_reward: Mapping[str, float]
    """Mean total reward of a completion over the whole run, by stage."""
    first_round_reward: float | None
    last_round_reward: float | None
    """Means over all completions of the round's stages; None without a whole round."""
    first_round_right: float | None
    last_round_right: float | None
    """Shares of the round's sampled answers, of the answer stage, that are right; likewise."""
    held_out_before: float | None
    held_out_after: float | None
    """Greedy accuracy; None where it was not measured."""
    outputs_read: int
    """Peers' outputs, over the whole run."""
    refused: Mapping[str, int]
    """Records refused, by reason."""

    def write(self, directory: Path) -> None:
        """Raises: InputError where the file can't be written."""
        replace_json(directory / SUMMARY_FILE, as_document(self))

    @staticmethod
    def read(directory: Path) -> "Summary | None":
        """None where there is no such file, or none of this version."""
        document = read_json(directory / SUMMARY_FILE)
        try:
            return Summary(**document) if document else None
        except TypeError:
            return None
