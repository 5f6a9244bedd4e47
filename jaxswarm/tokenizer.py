"""Between chats and token ids: the model's template, padding to buckets, decoding."""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer, Qwen2Tokenizer

from jaxswarm.errors import InputError

_STOPS = ("<|im_end|>", "<|endoftext|>")
"""Qwen's ends of a turn and of a text. A model trained on chats may give either."""

_INVISIBLE = "\N{ZERO WIDTH SPACE}"

_DRAFT = ".draft"
"""Directory of what is being saved, beside what it replaces: on the same file system."""

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How a library in Rust ends an error of the system."""


def bucket_for(length: int, buckets: Sequence[int]) -> int | None:
    """The smallest bucket that holds `length` tokens; None where none does. Nothing is ever cut."""
    return min((bucket for bucket in buckets if bucket >= length), default=None)


class Tokenizer:
    """The tokenizer of one model.

    What stands in a message is text and stays text: the control tokens of a prompt come from the
    template alone, whatever a peer or a data set wrote.
    """

    def __init__(self, source: Path | str):
        """Reads the tokenizer in a directory as transformers saves it, or in a .gguf file.

        Raises:
          InputError: there is none, or none of an instruct model.
        """
        self._source = source
        self._tokenizer = _read(Path(source))
        for what, found in (
            ("chat template", self._tokenizer.chat_template),
            ("end-of-sequence token", self._tokenizer.eos_token_id),
        ):
            if found is None:
                raise InputError(
                    f"tokenizer of {source}",
                    got=f"no {what}",
                    expected="that of an instruct model",
                    remedy="name an instruct model in its place",
                )
        vocabulary = self._tokenizer.get_vocab()
        eos, pad = self._tokenizer.eos_token_id, self._tokenizer.pad_token_id
        stops = {eos, *(vocabulary[stop] for stop in _STOPS if stop in vocabulary)}
        self.stop_tokens: tuple[int, ...] = tuple(sorted(stops))
        """Each ends a completion."""
        self.pad_id: int = eos if pad is None else pad
        """What fills a prompt up to its bucket; never attended to."""
        self.size: int = max(vocabulary.values()) + 1
        """Ids in use, up to the largest; see `check_size`."""
        added = self._tokenizer.added_tokens_decoder.values()
        self._control = sorted(
            {
                *self._tokenizer.all_special_tokens,
                *(token.content for token in added if token.special),
            }
        )

    def check_size(self, vocab_size: int) -> None:
        """Raises InputError if the model has no embedding for some ids: lookups would not fail."""
        if self.size > vocab_size:
            raise InputError(
                f"tokenizer of {self._source}",
                got=f"ids up to {self.size - 1}",
                expected=f"ids below the size of the model's vocabulary, {vocab_size}",
                remedy="give the model its own tokenizer, or fetch it anew",
            )

    def save(self, directory: Path) -> None:
        """Writes what `Tokenizer(directory)` reads: tokenizer.json, its config, chat template.

        What is there is replaced file by file, so that neither a kill nor a full disk tears any.

        Raises:
          OSError: the disk is full or can't be written.
        """
        draft = directory / _DRAFT
        try:
            shutil.rmtree(draft, ignore_errors=True)
            self._tokenizer.save_pretrained(str(draft))
            for file in [path for path in draft.rglob("*") if path.is_file()]:
                target = directory / file.relative_to(draft)
                target.parent.mkdir(exist_ok=True)
                file.replace(target)
        except Exception as error:
            # tokenizers hands on what the system says as a bare Exception.
            said = _OS_ERROR.search(str(error))
            if type(error) is not Exception or not said:
                raise
            number = int(said[1])
            raise OSError(number, os.strerror(number)) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def encode_prompts(self, chats: Sequence[Sequence[Mapping[str, str]]]) -> list[list[int]]:
        """The token ids of each chat up to where the model's reply begins.

        Args:
          chats: lists of messages with "role" and "content".
        """
        if not chats:
            return []
        defused = [
            [{**message, "content": self._defuse(message["content"])} for message in chat]
            for chat in chats
        ]
        texts = self._tokenizer.apply_chat_template(
            defused, add_generation_prompt=True, tokenize=False
        )
        return self._tokenizer(texts, add_special_tokens=False)["input_ids"]

    def pad(
        self, prompts: Sequence[Sequence[int]], buckets: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Prompts as one array, padded at the right to the bucket of the longest.

        Args:
          prompts: each of them fits a bucket: see `bucket_for`.
          buckets: lengths in tokens.

        Returns:
          token_QxP int32, and length_Q int32 without the padding.
        """
        width = bucket_for(max(map(len, prompts)), buckets)
        assert width is not None, (max(map(len, prompts)), buckets)
        token_QxP = np.full((len(prompts), width), self.pad_id, np.int32)
        for row, prompt in zip(token_QxP, prompts, strict=True):
            row[: len(prompt)] = prompt
        return token_QxP, np.array([len(prompt) for prompt in prompts], np.int32)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of a completion up to its first stop token, without control tokens."""
        ids = np.asarray(tokens, np.int32).tolist()
        end = next((i for i, token in enumerate(ids) if token in self.stop_tokens), len(ids))
        return self._tokenizer.decode(ids[:end], skip_special_tokens=True)

    def encode_completions(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text as if the model had written it: with the end of its turn."""
        if not texts:
            return []
        tokens = self._tokenizer([self._defuse(t) for t in texts], add_special_tokens=False)
        return [[*ids, self._tokenizer.eos_token_id] for ids in tokens["input_ids"]]

    def _defuse(self, text: str) -> str:
        """Spoils the spelling of control tokens: an invisible character for the first of each.

        A rendered chat is one string, in which the tokenizer can't tell a template's control token
        from one that somebody wrote. So nobody's text may hold its spelling.
        """
        for token in self._control:
            text = text.replace(token, _INVISIBLE + token[1:])
        return text


def _read(source: Path) -> Any:
    try:
        if source.is_file():
            # Not AutoTokenizer, which first reads the header again by the library's slow way.
            return Qwen2Tokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
        return AutoTokenizer.from_pretrained(str(source), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"tokenizer of {source}",
            got=str(error),
            expected="tokenizer.json and tokenizer_config.json, or a .gguf file with a tokenizer",
            remedy="fetch the model anew, with its tokenizer",
        ) from error
