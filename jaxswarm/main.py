"""One node: `python -m jaxswarm.main --config configs/gsm8k.py`, on TPU, GPU and CPU alike.

The config file lists every key with its unit. Every end has a line of cause and an exit code
(jaxswarm/host/ending.py).
"""

import sys
import traceback

from jaxswarm.errors import InputError
from jaxswarm.host import memory, readers
from jaxswarm.host.ending import AGAIN, BUG, DONE, UNUSABLE, Ending, StoppedError, cause


@readers.may_leave()
def main() -> int:
    """Returns the exit code."""
    memory.keep_freed()
    ending = Ending()
    try:
        with ending.requests():
            finished = _run(ending)
    except StoppedError as request:
        print(f"stopped on request ({request}) before its first stage; {AGAIN}")
        return DONE
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE
    except Exception as error:  # noqa: BLE001 the last line of a run says why it ended
        traceback.print_exc()
        print(cause(error), file=sys.stderr)
        return BUG
    print("all rounds are done" if finished else f"stopped on request; {AGAIN}")
    return DONE


def _run(ending: Ending) -> bool:
    """Runs the node that the command line asks for. Whether all rounds are done."""
    # To import JAX takes seconds, in which an end may be asked for too.
    from absl import flags as absl_flags

    from jaxswarm.learner import compiling
    from jaxswarm.run import run
    from jaxswarm.setup import flags

    compiling.hand_memory_back()
    values = absl_flags.FlagValues()
    flags.define(values)
    return run(flags.parse(values, __doc__ or ""), sys.argv[1:], ending)


if __name__ == "__main__":
    sys.exit(main())
