"""Notes what a checkpoint's files hold, so that a bit that a disk lost is noticed.

Orbax checks the form of what it reads, not its content: of single bits flipped in the arrays' files
nearly all were read without a word. A checkpoint without such notes, as another program writes it,
is taken as it is.
"""

import json
import zlib
from pathlib import Path

CHECKSUMS = "checksums.json"
_PIECE_BYTES = 4 << 20


def write(checkpoint: Path) -> None:
    """Notes every file of a checkpoint's items. Raises OSError where it can't be written."""
    files = {name: _of(checkpoint / name) for name in _names(checkpoint)}
    draft = checkpoint / f".{CHECKSUMS}"
    draft.write_text(json.dumps(files))
    draft.replace(checkpoint / CHECKSUMS)


def fault(checkpoint: Path) -> str | None:
    """The first file that isn't what was noted, with what is wrong; None where all are.

    Raises:
      OSError: a file can't be read.
    """
    notes = checkpoint / CHECKSUMS
    if not notes.exists():
        return None
    try:
        noted = dict(json.loads(notes.read_bytes()))
    except (ValueError, TypeError):
        return f"{CHECKSUMS} is no JSON object"
    found = _names(checkpoint)
    for name in sorted(noted):
        if name not in found:
            return f"{name} is missing"
        size, content = _of(checkpoint / name)
        if [size, content] != noted[name]:
            return f"{name} has another {'content' if size == noted[name][0] else 'size'}"
    return None


def _names(checkpoint: Path) -> list[str]:
    # What lies beside the items is Orbax's own, and changes until the checkpoint has its name.
    return sorted(str(p.relative_to(checkpoint)) for p in checkpoint.glob("*/**/*") if p.is_file())


def _of(path: Path) -> tuple[int, int]:
    """Size and CRC-32."""
    size, content = 0, 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            size, content = size + len(piece), zlib.crc32(piece, content)
    return size, content
