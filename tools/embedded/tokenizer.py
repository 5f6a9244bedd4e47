"""A small tokenizer in Qwen2's manner: byte-level BPE that splits numbers into digits.

Any text encodes, since every byte is a token. The words of the word problems are one token each,
and so is every reply tag, so that a reply takes few tokens and its form is easily learnt.
"""

import tempfile
from collections.abc import Iterable

from tokenizers import AddedToken
from transformers import Qwen2Tokenizer

from jaxswarm.records import Stage
from jaxswarm.stages.tags import REPLY_TAGS
from jaxswarm.tokenizer import Tokenizer

VOCABULARY = 640
"""Tokens in all. A multiple of 64, so that a mesh can split the vocabulary; the corpus fills it."""

TURN_START, TURN_END, PADDING = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""ChatML without the line ends between turns: four tokens a turn beside its content."""


def reply_tags() -> tuple[str, ...]:
    """Opening and closing tags of all stages, each once, in the order of the stages."""
    names = dict.fromkeys(tag for stage in Stage for tag in REPLY_TAGS[stage])
    return tuple(mark for tag in names for mark in (f"<{tag}>", f"</{tag}>"))


def train(corpus: Iterable[str]) -> Tokenizer:
    """A tokenizer of `VOCABULARY` tokens, made for this corpus (texts without reply tags)."""
    special = [AddedToken(mark, special=True) for mark in (TURN_START, TURN_END)]
    tags = [AddedToken(mark, special=False, normalized=False) for mark in reply_tags()]
    # Qwen2's own class without a vocabulary brings its pre-tokenisation and the padding token.
    tokenizer = Qwen2Tokenizer().train_new_from_iterator(
        corpus, VOCABULARY - len(special) - len(tags), show_progress=False
    )
    tokenizer.add_tokens(special)
    tokenizer.add_tokens(tags)
    assert len(tokenizer) == VOCABULARY, len(tokenizer)
    tokenizer.eos_token, tokenizer.pad_token = TURN_END, PADDING
    tokenizer.model_max_length = 512
    tokenizer.chat_template = CHAT_TEMPLATE
    with tempfile.TemporaryDirectory() as draft:
        tokenizer.save_pretrained(draft)
        return Tokenizer(draft)
