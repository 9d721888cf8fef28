"""One step of distillation, ours against PyTorch's: the quickstart's task on real weights.

    python -m tests.benchmarks.train_step [--model base] [--rounds 5]

Compared: SequenceDistillation.step, as `distil-jax train` calls it, in float32 and bfloat16, and
the same step of transformers' Whisper in PyTorch with SDPA attention, in float32 and under bfloat16
autocast (the frozen teacher is cast once, the student's masters stay float32).

The same in all: the teacher; a student with fewer decoder layers; 16 clips padded to 30 s, targets
padded to 64 tokens; log-mel from samples; one frozen encoder for both models, run once; logits of
all 64 positions of both; 0.8 cross-entropy + 4 KL at temperature 2 over the tokens that count;
gradients of the whole decoder, clipped by their norm; AdamW. PyTorch's step is written after
Distil-Whisper's run_distillation.py (arXiv:2311.00430), with the fused AdamW. Two steps are taken
before anything is timed, and their losses must agree: the second's do if gradient and update did.

Peak memory is of the whole process, loading and compiling included. --kept-memory: PyTorch's
workers keep freed memory too, as ours do (distil_jax/allocator.py).
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks import figures, harness, materials
from tests.benchmarks.harness import Contender, Timing

LAYERS = {"tiny.en": 3, "base": 2}  # of the decoders of configs/quickstart and whisper_base.yaml
RATE, TEMPERATURE = 2e-4, 2.0
PAIRS = [("ours float32", "torch float32"), ("ours bfloat16", "torch bfloat16")]
TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2}


def ours(folder: Path, model: str, dtype: Any) -> Callable[[], float]:
    import jax
    import numpy as np

    from distil_jax.algorithms.sequence_distillation import SequenceDistillation, Student
    from distil_jax.allocator import keep_freed_memory, share_freed_memory
    from distil_jax.data.batch import SpeechBatch
    from distil_jax.mesh import MeshConfig, make_mesh, split_batch
    from distil_jax.models.layers import Compute
    from distil_jax.models.pretrained import load_pretrained
    from distil_jax.objectives import CrossEntropy, KLDivergence
    from distil_jax.run import ONLY_STUDENT
    from distil_jax.students.layer_copy import StudentConfig, copy_layers, student_shape
    from distil_jax.training.settings import OptimizerConfig, TrainConfig

    share_freed_memory()  # this and the next as training does
    keep_freed_memory()
    teacher = load_pretrained(materials.locations(model))
    student = student_shape(teacher.config, StudentConfig(decoder_layers=LAYERS[model]))
    mesh, rules = make_mesh(MeshConfig()), MeshConfig().rules
    recipe = (CrossEntropy(weight=0.8), KLDivergence(weight=1.0, temperature=TEMPERATURE))
    optimizer = OptimizerConfig(learning_rate=RATE, warmup_steps=0, schedule="constant")
    config = TrainConfig(
        batch_size=materials.BATCH, loss_chunk=8 * materials.BATCH, optimizer=optimizer
    )
    newborn = copy_layers(teacher.params, teacher.config, student)
    models = teacher.config, teacher.params, {ONLY_STUDENT: Student(student, newborn)}
    how = Compute(dtype=dtype), mesh, rules, rules
    algorithm = SequenceDistillation(*models, recipe, config, *how)
    state, batch = algorithm.init(), SpeechBatch(**np.load(folder / "batch.npz"))

    def step() -> float:
        nonlocal state
        placed = jax.device_put(batch, split_batch(mesh, rules))
        state, metrics = jax.block_until_ready(algorithm.step(state, placed))
        return float(metrics[ONLY_STUDENT]["loss"])

    return step


def peer(folder: Path, dtype: str, kept_memory: bool) -> Callable[[], float]:
    import numpy as np
    import torch
    from torch.nn import functional as F

    from distil_jax.allocator import keep_freed_memory, share_freed_memory

    if kept_memory:
        share_freed_memory()
        keep_freed_memory()
    half = dtype == "bfloat16"
    teacher = materials.torch_model(folder / "teacher").eval().requires_grad_(False)
    teacher = teacher.to(torch.bfloat16 if half else torch.float32)
    student = materials.torch_model(folder / "student").train()
    student.model.encoder = teacher.model.encoder
    trained = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0, fused=True)
    features = materials.torch_features(folder / "teacher")
    arrays = dict(np.load(folder / "batch.npz"))
    inputs, labels, mask = (torch.from_numpy(arrays[n]) for n in ("inputs", "labels", "mask"))
    inputs, labels = inputs.long(), labels.long().masked_fill(~mask, -100)

    def step() -> float:
        mel = features(list(arrays["samples"]))
        with torch.no_grad():
            encoded = (teacher.model.encoder(mel.to(teacher.dtype)).last_hidden_state,)
            given = {"decoder_input_ids": inputs, "encoder_outputs": encoded, "use_cache": False}
            teacher_logits = teacher(**given).logits.float()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = student(**given).logits
        logits = logits.float()
        cross_entropy = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        log_q = F.log_softmax(teacher_logits / TEMPERATURE, dim=-1)
        log_p = F.log_softmax(logits / TEMPERATURE, dim=-1)
        divergence = F.kl_div(log_p, log_q, reduction="none", log_target=True)
        kl = divergence.masked_fill(~mask[..., None], 0.0).sum() / mask.sum() * TEMPERATURE**2
        loss = 0.8 * cross_entropy + kl
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def check(timings: dict[str, Timing]) -> None:
    """The losses of the first two steps are the same, or there is nothing to compare."""
    for pair in PAIRS:
        a, b = (timings[name].warm_up for name in pair)
        harness.say(f"losses of two steps: {pair[0]} {a}, {pair[1]} {b}")
        limit = TOLERANCE[pair[0].split()[1]]
        if any(abs(x - y) > limit * abs(y) for x, y in zip(a, b, strict=True)):
            sys.exit("the losses differ: the two do not do the same work")


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--model", choices=materials.MODELS, default="tiny.en")
    parser.add_argument("--tokens", type=int, default=64, help="length of the padded targets")
    parser.add_argument("--kept-memory", action="store_true", help="let PyTorch's keep it too")
    options = parser.parse_args()
    model, machine = options.model, figures.machine(options.cores)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        harness.aside(materials.write_torch_model, folder / "teacher", model)
        harness.aside(materials.write_torch_model, folder / "student", model, LAYERS[model])
        facts = harness.aside(materials.write_batch, folder / "batch.npz", model, options.tokens)
        contenders = []
        for dtype in TOLERANCE:
            arguments = folder, dtype, options.kept_memory
            contenders.append(Contender(f"ours {dtype}", ours, (folder, model, dtype)))
            contenders.append(Contender(f"torch {dtype}", peer, arguments))
        timings = harness.measure(contenders, options.rounds, options.cores, 2, check)
    facts["losses of two steps"] = {name: t.warm_up for name, t in timings.items()}
    figures.report(timings, PAIRS, machine, vars(options) | facts, options.json)


if __name__ == "__main__":
    main()
