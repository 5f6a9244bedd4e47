"""One live process for each path: a hold that ends with the process, however it ends."""

import fcntl
import os
from pathlib import Path


def hold(path: Path) -> int:
    """Holds a file or directory against all other holds, until the descriptor is closed.

    Where the file system knows no holds, or asks for the right to write (NFS), nobody is kept out.

    Raises:
      BlockingIOError: a live process holds it.
      OSError: it can't be opened.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        pass
    return descriptor
