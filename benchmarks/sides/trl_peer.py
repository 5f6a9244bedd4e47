"""TRL's side of the benchmarks: its GRPOTrainer, generating by transformers' own `generate`.

Made for TRL 1.16.0, from the extra `peers`. What it can't be made to do the same way:

- A row is kept from ending by forbidding the tokens that end one.
- Under bfloat16 the float32 weights are cast in each layer of each step (torch's autocast), while
  generating as well.
- The entropy of each token is computed beside its log-probability, in chunks.
"""

import os
import tempfile
import time
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}  # TRL tells of its use

import torch
from datasets import Dataset
from transformers import AutoTokenizer, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportMissingImports]

from benchmarks.work import Measured, Work, repeat, run, torch_peak_gb


def trl_side(work: Work) -> Measured:
    tokenizer: Any = AutoTokenizer.from_pretrained(work.model, padding_side="left")
    texts = [tokenizer.decode(prompt) for prompt in work.prompts]
    prompts = [list(prompt) for prompt in work.prompts for _ in range(work.group)]
    rewards = [reward for group in work.rewards() for reward in group]
    generated, steps = [], []

    class Trainer(GRPOTrainer):
        def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
            assert prompt_ids == prompts, "a prompt's text has other tokens"
            began = time.perf_counter()
            done = super()._generate_single_turn(prompt_ids, *args, **kwargs)
            generated.append(_now() - began)
            assert [len(row) for row in done[0]] == [work.limit] * len(prompts)
            return done

    class Clock(TrainerCallback):
        """Takes the time of a whole step: completions, rewards, gradients and update."""

        began = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = _now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            steps.append(_now() - self.began)

    with tempfile.TemporaryDirectory(prefix="trl-") as directory:
        settings = GRPOConfig(
            output_dir=directory,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            max_steps=work.repeats + 1,
            per_device_train_batch_size=len(prompts) // work.micro_batches,
            gradient_accumulation_steps=work.micro_batches,
            gradient_checkpointing=work.recompute,
            bf16=work.dtype == "bfloat16",
            model_init_kwargs={"dtype": "float32"},
            optim="adamw_torch_fused",
            learning_rate=work.learning_rate,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=1.0,
            num_generations=work.group,
            max_completion_length=work.limit,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            generation_kwargs={"min_new_tokens": work.limit},
            shuffle_dataset=False,
            loss_type="dapo",
            scale_rewards="group",
            beta=work.beta if work.train else 0.0,
            epsilon=0.2,
        )
        trainer = Trainer(
            model=work.model,
            reward_funcs=lambda **_: rewards,
            args=settings,
            train_dataset=Dataset.from_dict({"prompt": texts}),
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        trainer.remove_callback(PrinterCallback)
        if not work.train:
            rows = [text for text in texts for _ in range(work.group)]

            def generate() -> None:
                with trainer.accelerator.autocast():
                    trainer._generate(rows)

            return repeat(work, generate, lambda _: None, torch_peak_gb)
        norm = trainer.model.model.norm.weight
        before = norm.detach().clone()
        trainer.train()
    assert (trainer.ref_model is not None) == (work.beta > 0)
    assert len(generated) == len(steps) == work.repeats + 1
    assert (norm.detach() != before).any(), "the weights did not change"
    return Measured(steps[0], generated[1:], steps[1:], torch_peak_gb())


def _now() -> float:
    """Seconds, once the work asked of a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    run(trl_side)
