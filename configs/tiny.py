"""The embedded default: a tiny model and word problems of the package. Needs no network."""

from pathlib import Path

from ml_collections import ConfigDict

import jaxswarm
from configs import gsm8k

EMBEDDED = Path(jaxswarm.__file__).parent / "embedded"


def get_config() -> ConfigDict:
    config = gsm8k.get_config()
    config.rounds = 8

    config.model.source = str(EMBEDDED / "model")
    config.data.source = str(EMBEDDED / "problems")
    config.data.held_out_split = "held_out"

    config.stages.questions = 16
    config.stages.prompts = "terse"
    config.stages.peers_in_prompt = 3
    config.stages.max_peer_chars = 300

    # One bucket each: a program more compiles for longer than its padding would take.
    config.generation.limit = 80
    config.generation.prompt_buckets = (144,)

    config.grpo.row_buckets = ()
    config.grpo.micro_batches = 1
    config.grpo.remat = False

    config.optimizer.learning_rate = 3e-4
    config.optimizer.warmup_steps = 2

    config.swarm.name = "tiny"
    config.swarm.host_maddrs = "/ip4/127.0.0.1/tcp/0"
    config.swarm.stage_deadline_s = 60.0
    config.swarm.heartbeat_s = 1.0
    config.swarm.member_ttl_s = 15.0
    config.swarm.poll_s = 0.2

    config.evaluation.every_rounds = 0
    config.evaluation.questions = 192
    config.evaluation.batch = 64

    config.output.directory = "runs/tiny"
    config.output.checkpoint_stages = 3
    return config
