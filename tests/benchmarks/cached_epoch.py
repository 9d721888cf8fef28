"""An epoch over the same clips: with the teacher in each step, and from a signals cache.

    python -m tests.benchmarks.cached_epoch [--model base] [--clips 64] [--rounds 5]

Compared: loader and SequenceDistillation.step, as `distil-jax train` puts them together, in
float32: live (sound is decoded, encoder and both decoders run), from a cache of the teacher's top
32 (sound is decoded, encoder and student's decoder run), and from one that has the encoder's states
too (nothing is decoded, the student's decoder runs alone). What is cached is float16, read from
files that the page cache may hold, as it may hold the recordings.

The models have the published shape and random weights; the recordings are the quickstart's, the
labels random tokens, as many as the transcripts suggest. A first epoch is not timed, and its
cross-entropy must agree: the cache's encoder states are those of the encoder.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks import figures, harness
from tests.benchmarks.harness import Contender, Timing

LIVE, TOP_K, STATES = "live", "cached top k", "cached top k and states"
PAIRS = [(STATES, LIVE), (TOP_K, LIVE)]
TOY = "toy"
TOLERANCE = 1e-3  # of the states in float16
LAYERS, KEPT, TOKENS, TEMPERATURE, CHUNK = 2, 32, 64, 2.0, 256


def shape(model: str) -> Any:
    """The published shape, or one that only shows whether all of this runs."""
    from distil_jax.models.published import published_shape

    found = published_shape("openai/whisper-base" if model == TOY else f"openai/whisper-{model}")
    if found is None:
        sys.exit(f"--model: got {model!r}, expected a published size such as base, or {TOY}")
    small = {"d_model": 16, "encoder_layers": 1, "encoder_heads": 2, "decoder_heads": 2}
    small |= {"encoder_ffn": 32, "decoder_ffn": 32, "vocab_size": 400}
    return found.model_copy(update=small) if model == TOY else found


def examples(count: int, vocabulary: int) -> list[Any]:
    """Recordings of the quickstart, over again where there are too few, with random labels."""
    from functools import partial
    from itertools import cycle, islice

    import numpy as np

    from distil_jax.data.loader import Example
    from distil_jax.data.speech import SpeechConfig, load_clip, open_corpus

    source = SpeechConfig(path="package:distil_jax/quickstart/train", language="en")
    rng, found = np.random.default_rng(0), []
    for number, each in enumerate(islice(cycle(open_corpus("quickstart", source)), count)):
        length = min(TOKENS - 3, 2 + len((each.text or "").split()) * 4 // 3)
        label = rng.integers(10, vocabulary - 10, length).tolist()
        assert each.audio is not None
        load = partial(load_clip, each.audio, 0.0)
        seconds = len(load()) / 16_000
        found.append(Example(f"{number}", load, [1], label, corpus="quickstart", seconds=seconds))
    return found


def target_ids(vocabulary: int) -> Any:
    from distil_jax.data.targets import TargetTokens

    names = {"end": vocabulary - 4, "previous": vocabulary - 3, "no_timestamps": vocabulary - 2}
    return TargetTokens(**names, first_timestamp=vocabulary - 1)


def keys(clips: list[Any], vocabulary: int) -> list[Any]:
    from distil_jax.data.loader import target_of
    from distil_jax.labelling.signal_store import ClipKey

    targets = [target_of(clip, target_ids(vocabulary), False, False) for clip in clips]
    pairs = zip(clips, targets, strict=True)
    return [ClipKey(clip.corpus, clip.id, "", len(target)) for clip, target in pairs]


def settings(contender: str) -> Any:
    from distil_jax.labelling.settings import SignalsConfig

    return {
        LIVE: None,
        TOP_K: SignalsConfig(top_k=KEPT),
        STATES: SignalsConfig(top_k=KEPT, encoder_states=True),
    }[contender]


def loader_config(batch: int) -> Any:
    from distil_jax.data.loader import LoaderConfig
    from distil_jax.models.log_mel import CLIP_SAMPLES

    # One batch ahead: more would be read while the other contenders have their turn.
    sizes = {"target_lengths": (TOKENS,), "clip_samples": CLIP_SAMPLES}
    return LoaderConfig(batch, seed=0, **sizes, read_ahead=1)


def write_caches(folder: Path, model: str, count: int, batch: int) -> dict[str, int]:
    """Both caches; their bytes a clip."""
    from distil_jax.data.loader import ordered_batches
    from distil_jax.labelling.signal_store import SignalStore
    from distil_jax.labelling.teacher_signals import TeacherSignals
    from distil_jax.mesh import MeshConfig, make_mesh
    from distil_jax.models.layers import Compute
    from distil_jax.models.whisper import init

    config, mesh = shape(model), MeshConfig()
    clips = examples(count, config.vocab_size)
    found, names, bytes_per_clip = init(config), keys(clips, config.vocab_size), {}
    for contender in (TOP_K, STATES):
        teacher = TeacherSignals(
            config,
            settings(contender),
            TEMPERATURE,
            CHUNK,
            make_mesh(mesh),
            mesh.rules,
            Compute(),
        )
        params, store = teacher.place(found), SignalStore(folder / contender)
        groups = [clips[first : first + batch] for first in range(0, count, batch)]
        ids = target_ids(config.vocab_size)
        for number, made in enumerate(ordered_batches(groups, ids, loader_config(batch))):
            part = names[number * batch : (number + 1) * batch]
            store.write(number, part, teacher(params, made, [key.positions for key in part]))
        size = sum(path.stat().st_size for path in store.folder.iterdir())
        bytes_per_clip[f"bytes a clip, {contender}"] = size // count
    return bytes_per_clip


def epoch(folder: Path, contender: str, model: str, count: int, batch: int) -> Callable[[], float]:
    from dataclasses import replace

    import jax

    from distil_jax.algorithms.sequence_distillation import SequenceDistillation, Student
    from distil_jax.allocator import keep_freed_memory, share_freed_memory
    from distil_jax.data.loader import make_loader
    from distil_jax.labelling.signal_store import SignalStore
    from distil_jax.mesh import MeshConfig, make_mesh, split_batch
    from distil_jax.models.layers import Compute
    from distil_jax.models.whisper import init
    from distil_jax.objectives import CrossEntropy, KLDivergence
    from distil_jax.run import ONLY_STUDENT
    from distil_jax.students.layer_copy import StudentConfig, copy_layers, student_shape
    from distil_jax.training.settings import OptimizerConfig, TrainConfig

    share_freed_memory()  # this and the next as training does
    keep_freed_memory()
    config = shape(model)
    teacher, student = init(config), student_shape(config, StudentConfig(decoder_layers=LAYERS))
    mesh, rules = make_mesh(MeshConfig()), MeshConfig().rules
    optimizer = OptimizerConfig(learning_rate=1e-5, warmup_steps=0, schedule="constant")
    algorithm = SequenceDistillation(
        teacher_config=config,
        teacher_params=teacher,
        students={ONLY_STUDENT: Student(student, copy_layers(teacher, config, student))},
        objectives=(CrossEntropy(weight=0.8), KLDivergence(temperature=TEMPERATURE)),
        config=TrainConfig(batch_size=batch, loss_chunk=CHUNK, optimizer=optimizer),
        compute=Compute(),
        mesh=mesh,
        rules=rules,
        teacher_rules=rules,
        signals=settings(contender),
    )
    clips = examples(count, config.vocab_size)
    if contender != LIVE:
        stored = SignalStore(folder / contender).find(keys(clips, config.vocab_size))
        clips = [replace(clip, stored=each) for clip, each in zip(clips, stored, strict=True)]
    loader = make_loader(clips, target_ids(config.vocab_size), loader_config(batch))
    state = algorithm.init()

    def run() -> float:
        nonlocal state
        seen = []
        for _ in range(count // batch):
            placed = jax.device_put(next(loader), split_batch(mesh, rules))
            state, metrics = algorithm.step(state, placed)
            seen.append(metrics[ONLY_STUDENT]["cross_entropy"])
        return float(sum(jax.device_get(seen)) / len(seen))

    return run


def check(timings: dict[str, Timing]) -> None:
    wanted = timings[LIVE].warm_up[0]
    for name, timing in timings.items():
        harness.say(f"cross-entropy of the first epoch: {name} {timing.warm_up[0]:.6f}")
        if abs(timing.warm_up[0] - wanted) > TOLERANCE * wanted:
            sys.exit("the cross-entropies differ: they do not train on the same encoder states")


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--model", default="base", help=f"a published size, or {TOY}")
    parser.add_argument("--clips", type=int, default=64, help="in an epoch")
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    if options.clips % options.batch:
        parser.error("--clips must be a multiple of --batch")
    machine, work = figures.machine(options.cores), (options.model, options.clips, options.batch)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = harness.aside(write_caches, folder, *work)
        contenders = [Contender(n, epoch, (folder, n, *work)) for n in (LIVE, TOP_K, STATES)]
        timings = harness.measure(contenders, options.rounds, options.cores, 1, check)
    facts |= {f"clips/s, {n}": round(options.clips / t.median, 2) for n, t in timings.items()}
    figures.report(timings, PAIRS, machine, vars(options) | facts, options.json)


if __name__ == "__main__":
    main()
