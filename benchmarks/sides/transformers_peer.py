"""transformers' side of the benchmarks: its generate, which has no update to time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from benchmarks.work import Measured, Work, repeat, run, torch_peak_gb


def transformers_generate(work: Work) -> Measured:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, work.dtype)
    if (Path(work.model) / "model.safetensors").exists():
        model: Any = Qwen2ForCausalLM.from_pretrained(work.model, dtype=dtype)
    else:
        model = Qwen2ForCausalLM(Qwen2Config.from_pretrained(work.model)).to(dtype)
    model = model.to(device).eval()
    longest = max(map(len, work.prompts))
    # Padded at the left, as transformers wants it.
    ids = torch.zeros(len(work.prompts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(work.prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    settings = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        num_return_sequences=work.group,
        min_new_tokens=work.limit,
        max_new_tokens=work.limit,
        pad_token_id=0,
    )

    def generate() -> object:
        with torch.no_grad():
            done = model.generate(ids, attention_mask=mask, generation_config=settings)
        assert done.shape == (len(work.prompts) * work.group, longest + work.limit)
        return done.cpu()

    return repeat(replace(work, train=False), generate, lambda _: None, torch_peak_gb)


if __name__ == "__main__":
    run(transformers_generate)
