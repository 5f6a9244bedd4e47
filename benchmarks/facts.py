"""What a measurement was taken on, and where its figures go.

`python -m benchmarks.facts` prints the former as JSON.
"""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "transformers",
    "hivemind",
    "torch",
)


def facts() -> dict[str, Any]:
    """The machine, the versions of what is installed, and the commit of this checkout."""
    import jax

    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def asked() -> dict[str, Any]:
    """`facts` by another process, for who starts others: JAX takes a GPU's memory."""
    ask = [sys.executable, "-m", "benchmarks.facts"]
    return json.loads(subprocess.run(ask, stdout=subprocess.PIPE, text=True, check=True).stdout)


def write(name: str, figures: dict[str, Any], about: dict[str, Any] | None = None) -> Path:
    """Writes `results/NAME.json` with the facts, `about` where given; returns its path."""
    return save(name, {"facts": about or facts(), **figures})


def save(name: str, document: dict[str, Any]) -> Path:
    """Writes `results/NAME.json`, whose parts were measured at different times; returns its path.

    Each has the facts of its own measurement.
    """
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def kept(part: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """A part of an earlier document, with its own facts or, where it has none, the document's."""
    return {"facts": document.get("facts"), **part} if part else {}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    """With "+" behind it where the checkout differs from that commit; "unknown" without one."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=False
        ).stdout.strip()

    try:
        head, changes = git("rev-parse", "--short", "HEAD"), git("status", "--porcelain")
    except OSError:
        return "unknown"
    return head + ("+" if changes else "") if head else "unknown"


if __name__ == "__main__":
    print(json.dumps(facts()))
