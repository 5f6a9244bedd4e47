"""The files by which a node tells other programs about itself, and their fields.

A run directory holds, of one node: `node.json` and `summary.json` (here), `status.json`
(status.py), `metrics.jsonl` and TensorBoard's events (metrics.py), `journal.jsonl` (journal.py).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jaxswarm.errors import InputError
from jaxswarm.host.locks import hold
from jaxswarm.report.files import as_document, read_json, replace_json, unwritable

NODE_FILE = "node.json"
SUMMARY_FILE = "summary.json"


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Keeps other runs out of the directory, which is made if missing.

    Two that write to it would take each other's checkpoints for torn ones and remove them.

    Raises:
      InputError: a live run has it, or it can't be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = hold(directory)
    except BlockingIOError as error:
        raise InputError(
            f"directory {directory}",
            got="in use by a live run on this machine",
            expected="one directory for each run",
            remedy="stop that run, or give this one another --config.output.directory",
        ) from error
    except OSError as error:
        raise unwritable(directory, error) from error
    try:
        yield
    finally:
        os.close(descriptor)


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
