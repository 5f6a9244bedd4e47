"""`python -m tools.convert_weights --source SRC --target DIR --format orbax|hf`."""

import argparse
import sys
from collections.abc import Sequence

import jax

from jaxswarm.errors import InputError
from jaxswarm.host.ending import UNUSABLE
from jaxswarm.host.paths import typed
from tools.convert_weights.convert import DTYPES, FORMATS, convert


def main(argv: Sequence[str] | None = None) -> int:
    """Converts as the flags say; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.convert_weights",
        description="Brings a Qwen2 model from one format into another, tokenizer included.",
    )
    parser.add_argument(
        "--source",
        required=True,
        help="a directory as transformers saves it, a .gguf file, a hub id, a run's checkpoints",
    )
    parser.add_argument("--target", required=True, type=typed, help="a new directory")
    parser.add_argument(
        "--format",
        required=True,
        choices=FORMATS,
        help="hf: what transformers loads; orbax: a checkpoint with parameters only. "
        "--config.model.source takes both",
    )
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="of the weights")
    flags = parser.parse_args(argv)
    # Weights only pass through: no accelerator is needed, and one may be too small.
    jax.config.update("jax_platforms", "cpu")
    try:
        convert(flags.source, flags.target, flags.format, flags.dtype)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
