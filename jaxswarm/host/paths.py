"""Paths as a person types them."""

import os
from pathlib import Path


def typed(text: str) -> Path:
    """The path that was meant, with `~` as the home directory.

    Unlike `Path.expanduser` this leaves the "~name" of an unknown user as it is: a path that does
    not exist, which whoever opens it can report.
    """
    return Path(os.path.expanduser(text))
