"""The main job: Qwen2.5-1.5B-Instruct learns GSM8K. Every key, with its unit and its default.

Any key is overridden on the command line: --config.grpo.group=16. Lengths are tokens and times
seconds unless a comment says otherwise.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    # Sampling seed; should differ from node to node. -1: drawn from the node's identity.
    config.seed = -1
    # Rounds to do; 0: until stopped.
    config.rounds = 300

    model = config.model = ConfigDict()
    # A hub id, a Hugging Face directory, a .gguf file, or what tools.convert_weights wrote.
    model.source = "Qwen/Qwen2.5-1.5B-Instruct"
    # Of the weights in matmuls: bfloat16, float32, or auto: bfloat16 except on CPUs, where XLA is
    # many times slower in it. The master copy and Adam's moments are float32.
    model.dtype = "auto"

    data = config.data = ConfigDict()
    # A hub id, a directory with one file a split, TRAIN.jsonl,TEST.jsonl, or one JSONL file.
    data.source = "openai/gsm8k"
    # The hub data set's configuration; "" where it has but one.
    data.subset = "main"
    # The split to learn from.
    data.train_split = "train"
    # The split to be judged by.
    data.held_out_split = "test"
    # The column of the problem's text.
    data.question_column = "question"
    # The gold answer: what follows the column's last "####", else all of it.
    data.answer_column = "answer"

    stages = config.stages = ConfigDict()
    # Questions of a round.
    stages.questions = 8
    # full: for instruct models. terse: for the tiny embedded model.
    stages.prompts = "full"
    # corrected (jaxswarm/stages/rewards.py), or published: those of RL Swarm's first version.
    stages.rewards = "corrected"
    # Mode stages: which completion of a group is published: best (by reward), first, or majority.
    stages.publish = "best"
    # Mode stages: texts shown for one question, one's own included.
    stages.peers_in_prompt = 4
    # Longest text of a peer that is shown, in characters; longer ones are refused whole.
    stages.max_peer_chars = 4000

    generation = config.generation = ConfigDict()
    # Longest completion.
    generation.limit = 512
    # Sampling temperature, above 0.
    generation.temperature = 1.0
    # Keep the likeliest k tokens, 2 or more; 0: all. Truncation biases the importance ratio.
    generation.top_k = 0
    # Keep the likeliest tokens that reach this probability; 1.0: all.
    generation.top_p = 1.0
    # Prompts are padded to the first of these that holds them. One that fits none loses the longest
    # of peers' texts, or, if it is too long without any, is left out.
    generation.prompt_buckets = (256, 512, 1024, 2048, 4096)

    grpo = config.grpo = ConfigDict()
    # Completions of each question.
    grpo.group = 8
    # How tokens weigh in the loss: grpo, dr_grpo or dapo.
    grpo.loss = "dapo"
    # Advantages are divided by the standard deviation of the group, of the batch, or by none.
    grpo.advantage_scale = "batch"
    # Weight of the KL to the model at the start; 0.0: no copy of it in memory.
    grpo.beta = 0.0
    # The importance ratio is clipped below 1 - eps_low ...
    grpo.eps_low = 0.2
    # ... and above 1 + eps_high.
    grpo.eps_high = 0.28
    # Optimizer updates on each batch.
    grpo.updates = 1
    # Pieces of a batch whose gradients are added up, to bound memory. Where devices share the
    # questions, there are no more pieces than a device has questions.
    grpo.micro_batches = 8
    # Training packs a question's completions into fewer rows, to compute no padding: the first of
    # these numbers that suffices, each row as long as generation.limit (4.5: 4 rows, each an eighth
    # longer). Where none does, each completion has its own row; (): always.
    grpo.row_buckets = (4, 6)
    # Tokens of the vocabulary whose logits are in memory at a time, for all completions.
    grpo.vocab_slice = 16384
    # Recompute the layers in the backward pass: less memory, a quarter more work.
    grpo.remat = True

    optimizer = config.optimizer = ConfigDict()
    # AdamW's peak learning rate.
    optimizer.learning_rate = 1e-6
    # After the warm-up: constant, or cosine down to 0 after as many updates as config.rounds have.
    # Not with swarm.train_while_waiting, which adds some.
    optimizer.schedule = "constant"
    # Updates until the learning rate has its peak.
    optimizer.warmup_steps = 10
    # The gradient's global norm is cut down to this.
    optimizer.clip_norm = 1.0
    # AdamW's weight decay.
    optimizer.weight_decay = 0.0
    # Decay of the mean of the gradients.
    optimizer.b1 = 0.9
    # Decay of the mean of their squares.
    optimizer.b2 = 0.99

    # Devices along each axis; one may be -1: whatever is left. See jaxswarm/model/sharding.py.
    mesh = config.mesh = ConfigDict()
    # Copies of the model.
    mesh.data = 1
    # Pieces of its weights, gathered layer by layer.
    mesh.fsdp = -1
    # Pieces of each layer.
    mesh.tensor = 1

    swarm = config.swarm = ConfigDict()
    # False: a solo run. Neither hivemind nor torch is needed.
    swarm.enabled = True
    # stages: answer, critique, resolve, in step. sharing: answers alone, and nobody waits: a node
    # learns from its own completions and from those of peers that have arrived.
    swarm.mode = "stages"
    # Mode sharing: at most so many completions of a group are peers'.
    swarm.external = 4
    # Nodes with the same name play together; swarms of other names can share peers.
    swarm.name = "gsm8k"
    # Chooses each round's questions; the same on all nodes.
    swarm.seed = 0
    # Multiaddresses of running nodes, separated by commas; "": start a swarm.
    swarm.initial_peers = ""
    # Where to listen, separated by commas; port 0 takes a free one.
    swarm.host_maddrs = "/ip4/0.0.0.0/tcp/0"
    # What others are told to dial, where that differs (behind a NAT); separated by commas. A node
    # that has them relays for others.
    swarm.announce_maddrs = ""
    # The node's key, made when missing; "": identity.pem in the output directory.
    swarm.identity = ""
    # A second place for the key, on another disk: written when missing, read when the key is lost.
    swarm.identity_backup = ""
    # A private swarm: a file with the secret that its nodes share; "": none.
    swarm.secret_file = ""
    # A private swarm: ids of the peers in it, separated by commas, or a file with one a line.
    swarm.allowed_peers = ""
    # Others may be reached through relays.
    swarm.use_relay = True
    # This node can't be reached itself: it looks for peers that relay for it.
    swarm.use_auto_relay = False
    # Only call others: keep no records for them and take no calls.
    swarm.client_mode = False
    # Peers to wait for at each start of the node, no longer than a stage's deadline.
    swarm.first_peers = 0
    # How long a stage waits for the peers in it.
    swarm.stage_deadline_s = 600.0
    # Mode stages: train on further questions of the data while a stage waits for slower peers.
    # Nothing of it is published. How much is learnt then depends on timing: no run repeats another
    # exactly.
    swarm.train_while_waiting = False
    # How long the p2p daemon may take to start.
    swarm.startup_timeout_s = 60.0
    # Between two heartbeats.
    swarm.heartbeat_s = 5.0
    # Silence after which a peer counts as gone.
    swarm.member_ttl_s = 30.0
    # How long outputs are kept in the swarm.
    swarm.output_ttl_s = 3600.0
    # Between two looks at the swarm while waiting for peers.
    swarm.poll_s = 1.0

    evaluation = config.evaluation = ConfigDict()
    # Rounds between evaluations; 0: at the start and the end alone.
    evaluation.every_rounds = 25
    # Held-out questions, from the first; 0: no evaluation.
    evaluation.questions = 256
    # Completions a question for the sampled accuracy, at temperature 1; 0: greedy only.
    evaluation.samples = 0
    # Questions at a time.
    evaluation.batch = 64

    output = config.output = ConfigDict()
    # Figures, texts and checkpoints. The same directory again goes on where it stopped.
    output.directory = "runs/gsm8k"
    # Stages between checkpoints of 12 bytes a parameter; the last stage always has one.
    output.checkpoint_stages = 30
    # Checkpoints kept.
    output.keep_checkpoints = 2
    # The answer stage of this round, counted from 0, is traced, and a line tells where its time
    # went; -1: none.
    output.profile_round = 1
    # Compiled programs, shared by all runs; "": not kept.
    output.compilation_cache = "~/.cache/jaxswarm/xla"
    return config
