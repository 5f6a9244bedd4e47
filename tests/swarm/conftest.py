"""What the swarm's tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.swarm.node_process import NodeProcess


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Makes nodes by name; keywords are their settings, but for these three. All end here."""
    nodes: list[NodeProcess] = []

    def make(
        name: str,
        /,
        *,
        manifest: dict[str, Any] | None = None,
        clock_ahead_s: float = 0.0,
        namespace: str = "",
        **settings: Any,
    ) -> NodeProcess:
        made = NodeProcess(tmp_path / name, settings, manifest or {}, clock_ahead_s, namespace)
        nodes.append(made)
        return made

    yield make
    for made in nodes:
        made.dispose()
