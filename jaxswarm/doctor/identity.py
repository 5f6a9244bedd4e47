"""The node's key and its backup. Nothing is made or changed here."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from jaxswarm.doctor.findings import Finding, Level
from jaxswarm.errors import InputError
from jaxswarm.host.locks import hold
from jaxswarm.swarm.identity import check_places, parse, peer_id

WHAT = "identity"


def identity(path: Path, backup: Path | None) -> Iterator[Finding]:
    """Whether the key can be used and is the node's alone.

    Raises:
      InputError: a file is no key, can't be looked at, or is named as its own backup.
    """
    check_places(path, backup)
    if not _is_there(path):
        if backup and _is_there(backup):
            peer = _peer(backup)
            yield Finding(Level.OK, WHAT, f"{path} is lost; {peer} will be put back from {backup}")
        elif not _is_there(path.parent):  # a first run has no identity to lose
            yield Finding(Level.OK, WHAT, f"none yet; made at the start, {path}")
        else:
            remedy = "if this node had one, put its backup back there; else a new one is made"
            yield Finding(Level.WARNING, WHAT, f"no key at {path}", remedy)
        return
    peer = _peer(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        remedy = f"whoever has it can be this node: chmod 400 {path}"
        yield Finding(Level.WARNING, WHAT, f"{peer}: others can read {path}", remedy)
    elif in_use(path):
        remedy = "stop that node, or give this one another by --config.swarm.identity"
        yield Finding(Level.WARNING, WHAT, f"{peer}: a live node uses {path}", remedy)
    else:
        yield Finding(Level.OK, WHAT, f"{peer} in {path}")
    yield _backup(path, peer, backup)


def in_use(path: Path) -> bool:
    """Whether a live node on this machine holds the key file."""
    try:
        os.close(hold(path))
    except BlockingIOError:
        return True
    return False


def _backup(path: Path, peer: str, backup: Path | None) -> Finding:
    what = "backup"
    if backup is None:
        remedy = f"cp -p {path} PLACE on another disk, or --config.swarm.identity_backup=PLACE"
        return Finding(Level.WARNING, what, "no backup of the identity is named", remedy)
    if not _is_there(backup):
        return Finding(Level.OK, what, f"none yet; it is made at the start, {backup}")
    other = _peer(backup)
    if other != peer:
        remedy = "name the right file by --config.swarm.identity_backup"
        return Finding(Level.FAILURE, what, f"{backup} is the key of another peer, {other}", remedy)
    return Finding(Level.OK, what, str(backup))


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from error
    return True


def _peer(path: Path) -> str:
    try:
        return peer_id(parse(path, path.read_bytes()).public_key())
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"identity file {path}",
        got=error.strerror,
        expected="a readable key file",
        remedy="check its rights",
    )
