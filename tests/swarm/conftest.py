"""What the swarm's tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from node_process import NodeProcess


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Makes nodes by name; keywords are their settings, without `manifest`. All end here."""
    nodes: list[NodeProcess] = []

    def make(name: str, *, manifest: dict[str, Any] | None = None, **settings: Any) -> NodeProcess:
        nodes.append(NodeProcess(tmp_path / name, settings, manifest or {}))
        return nodes[-1]

    yield make
    for made in nodes:
        made.dispose()
