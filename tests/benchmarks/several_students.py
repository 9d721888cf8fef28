"""One step of several students at once against the step of each alone, at whisper base's shapes.

    python -m tests.benchmarks.several_students [--layers 1 2 4] [--batch 16] [--rounds 5]
    python -m tests.benchmarks.several_students --layers 2 2 2    # three of a kind

Compared: SequenceDistillation.step, as `distil-jax train` calls it, with all the students, and with
one of each kind by itself. Random weights, noise of 30 s, random tokens of unequal lengths; the
encoder is frozen and the teacher's; 0.8 cross-entropy + KL at temperature 2. Two steps are taken
before anything is timed, and a student's losses must be the same in company as alone.

What it prints as the cost is the step of all over the step of one: by medians, by the rounds, and
by the analytic FLOPs (`SequenceDistillation.flops`). --tiny: of small shapes, to see that it runs.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from tests.benchmarks import figures, harness
from tests.benchmarks.harness import Contender, Timing

TOGETHER = "together"
CHUNK = 256  # tokens whose logits are in memory at once
TINY = {"d_model": 32, "encoder_ffn": 64, "decoder_ffn": 64, "encoder_layers": 1, "vocab_size": 500}
TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-3}


def algorithm(layers: Sequence[int], options: dict) -> Any:
    """Students with so many decoder layers, and a random teacher."""
    from distil_jax.algorithms.sequence_distillation import SequenceDistillation, Student
    from distil_jax.mesh import MeshConfig, make_mesh
    from distil_jax.models.layers import Compute
    from distil_jax.models.published import published_shape
    from distil_jax.models.whisper import init
    from distil_jax.objectives import CrossEntropy, KLDivergence
    from distil_jax.students.layer_copy import StudentConfig, copy_layers, student_shape
    from distil_jax.training.settings import OptimizerConfig, TrainConfig

    shape: Any = published_shape("openai/whisper-base")
    shape = shape.model_copy(update=TINY) if options["tiny"] else shape
    teacher, students = init(shape), {}
    for name, kept in zip(names(layers), layers, strict=True):
        config = student_shape(shape, StudentConfig(decoder_layers=kept))
        students[name] = Student(config, copy_layers(teacher, shape, config))
    optimizer = OptimizerConfig(learning_rate=2e-4, warmup_steps=0, schedule="constant")
    recipe = (CrossEntropy(weight=0.8), KLDivergence(weight=1.0, temperature=2.0))
    clips = options["batch"]
    config = TrainConfig(batch_size=clips, loss_chunk=CHUNK, optimizer=optimizer)
    how, mesh, rules = Compute(dtype=options["dtype"]), make_mesh(MeshConfig()), MeshConfig().rules
    return SequenceDistillation(shape, teacher, students, recipe, config, how, mesh, rules, rules)


def names(layers: Sequence[int]) -> list[str]:
    """Of the students: the first of a kind has the name that it has alone."""
    copies = [list(layers[:i]).count(kept) for i, kept in enumerate(layers)]
    return [f"{k}-layers" + (f"-{n + 1}" if n else "") for k, n in zip(layers, copies, strict=True)]


def random_batch(clips: int, tokens: int, vocabulary: int) -> Any:
    import numpy as np

    from distil_jax.data.batch import SpeechBatch
    from distil_jax.models.log_mel import CLIP_SAMPLES

    rng = np.random.default_rng(0)
    drawn = rng.integers(0, vocabulary, (clips, tokens + 1)).astype(np.int32)
    lengths = rng.integers(tokens // 4, tokens, (clips, 1), endpoint=True)
    return SpeechBatch(
        samples=rng.normal(0, 0.1, (clips, CLIP_SAMPLES)).astype(np.float32),
        seconds=np.full(clips, 30.0, np.float32),
        inputs=drawn[:, :-1],
        labels=drawn[:, 1:],
        mask=np.arange(tokens) < lengths,
    )


def stepper(layers: Sequence[int], options: dict) -> Callable[[], dict[str, float]]:
    """In a worker: what takes a step and returns the loss of each student."""
    import jax

    from distil_jax.allocator import keep_freed_memory, share_freed_memory
    from distil_jax.mesh import split_batch

    share_freed_memory()  # this and the next as training does
    keep_freed_memory()
    made = algorithm(layers, options)
    batch = random_batch(options["batch"], options["tokens"], made.teacher_config.vocab_size)
    state = made.init()

    def step() -> dict[str, float]:
        nonlocal state
        placed = jax.device_put(batch, split_batch(made.mesh, made.rules))
        state, metrics = jax.block_until_ready(made.step(state, placed))
        return {name: float(each["loss"]) for name, each in metrics.items()}

    return step


def flops(layers: Sequence[int], options: dict) -> float:
    """Of a step."""
    made = algorithm(layers, options)
    batch = random_batch(options["batch"], options["tokens"], made.teacher_config.vocab_size)
    return sum(made.flops(batch).values())


def check(timings: dict[str, Timing], limit: float) -> None:
    """Every student's losses are what they are alone, or there is nothing to compare."""
    for alone, timing in timings.items():
        if alone == TOGETHER:
            continue
        pairs = zip(timings[TOGETHER].warm_up, timing.warm_up, strict=True)
        losses = [(ours[alone], theirs[alone]) for ours, theirs in pairs]
        harness.say(f"losses of {alone}, together and alone: {losses}")
        if any(abs(a - b) > limit * abs(b) for a, b in losses):
            sys.exit("the losses differ: together they do not do what each does alone")


def costs(
    timings: dict[str, Timing], work: dict[str, float], layers: Sequence[int]
) -> dict[str, str]:
    """The step of all over the step of each kind, and over all of them one after the other."""
    whole, found = timings[TOGETHER], {}
    for name, alone in timings.items():
        if name == TOGETHER:
            continue
        each = [a / b for a, b in zip(whole.seconds, alone.seconds, strict=True)]
        found[f"cost against {name} alone"] = (
            f"{whole.median / alone.median:.3f} (rounds {min(each):.3f} to {max(each):.3f}; "
            f"by FLOPs {work[TOGETHER] / work[name]:.3f})"
        )
    apart = sum(timings[names([kept])[0]].median for kept in layers)
    found["cost against one after the other"] = f"{whole.median / apart:.3f}"
    return found


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 4], help="of the decoders")
    parser.add_argument("--batch", type=int, default=16, help="clips")
    parser.add_argument("--tokens", type=int, default=64, help="length of the padded targets")
    parser.add_argument("--dtype", choices=TOLERANCE, default="float32")
    parser.add_argument("--tiny", action="store_true", help="small shapes, to see that it runs")
    options = parser.parse_args()
    settings, machine = vars(options), figures.machine(options.cores)
    sets = {TOGETHER: options.layers, **{names([k])[0]: [k] for k in options.layers}}
    contenders = [Contender(name, stepper, (layers, settings)) for name, layers in sets.items()]

    def same_losses(timings: dict[str, Timing]) -> None:
        check(timings, TOLERANCE[options.dtype])

    timings = harness.measure(contenders, options.rounds, options.cores, 2, same_losses)
    work = {name: harness.aside(flops, layers, settings) for name, layers in sets.items()}
    facts = {**settings, "TFLOP of a step": {n: round(w / 1e12, 3) for n, w in work.items()}}
    figures.report(
        timings, [], machine, {**facts, **costs(timings, work, options.layers)}, options.json
    )


if __name__ == "__main__":
    main()
