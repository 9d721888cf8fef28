"""Steps of a ladder's runs, ours against PyTorch's, on whatever device is there.

    python -m tests.benchmarks.ladder_steps CONFIG.yaml [KEY=VALUE ...] [--sizes 4 8] [--rounds 3]
    python -m tests.benchmarks.ladder_steps CONFIG.yaml train.loss_chunk=512 --alone

Of each size of models, with teachers and without, the largest group of runs is taken. Compared:
LanguageModelling.step, as `distil-jax ladder` calls it, all students of a group in one program; and
a step of transformers' Qwen3 in PyTorch, student by student: compiled (torch.compile), SDPA
attention, masters float32, on a GPU under bfloat16 autocast, fused AdamW.

The same in both: weights, at first random; tokens; a teacher's forward pass once a step; KL from
the teacher, or cross-entropy, each with the z loss; gradients clipped by their norm; muP's rates.
Two steps are taken before any is timed, and their losses must agree. Compiling is not timed.

--alone: without PyTorch, and with the time that all steps of the ladder would take.
"""

import sys
from collections.abc import Callable

from tests.benchmarks import figures, harness
from tests.benchmarks.harness import Contender, Timing
from tests.benchmarks.ladder_groups import Config, largest, named, read, tokens, untrained
from tests.benchmarks.torch_language_models import in_turn, peer

OURS, TORCH = "ours", "torch compiled"
TOLERANCE = 2e-2  # of a loss: bfloat16


def work(given: Config) -> dict[str, dict[str, float]]:
    """By group that may be timed: layers, runs, operations of a step, and steps of all its like."""
    config = read(given)
    ladder, found = untrained(config), {}
    for name, group in largest(config).items():
        alike = [each for each in config.groups if named(each) == name]
        steps = sum(config.steps(each[0]) * len(each) / len(group) for each in alike)
        found[name] = {
            "layers": group[0].layers,
            "runs": len(group),
            "flops": ladder.flops(group) / config.steps(group[0]),
            "steps": steps,
        }
    return found


def ours(given: Config, name: str, steps: int) -> Callable[[], list[float]]:
    import jax

    from distil_jax.allocator import keep_freed_memory
    from distil_jax.mesh import split_batch

    if jax.default_backend() == "cpu":
        keep_freed_memory()  # as the ladder does
    config = read(given)
    ladder = untrained(config)
    algorithm = ladder.algorithm(largest(config)[name])
    state = algorithm.init()
    batch = jax.device_put(tokens(config), split_batch(ladder.mesh, config.mesh.rules))

    def run(count: int) -> list[float]:
        nonlocal state
        metrics = {}
        for _ in range(count):
            state, metrics = algorithm.step(state, batch)
        return [float(metrics[each]["loss"]) for each in algorithm.students]

    return in_turn(run, steps)


def same_losses(timings: dict[str, Timing]) -> None:
    """Or there is nothing to compare."""
    if TORCH not in timings:
        return
    for ours, theirs in zip(*(timings[name].warm_up for name in (OURS, TORCH)), strict=True):
        apart = max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))
        if apart > TOLERANCE:
            sys.exit(f"the losses differ by {apart:.2g}: ours {ours}, PyTorch's {theirs}")


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("config", help="of a ladder")
    parser.add_argument("overrides", nargs="*", help="as of `distil-jax ladder`")
    parser.add_argument("--sizes", type=int, nargs="+", help="layers of the models; all without it")
    parser.add_argument("--steps", type=int, default=5, help="that are timed together")
    parser.add_argument("--alone", action="store_true", help="without PyTorch")
    options = parser.parse_args()
    machine = figures.machine(options.cores)
    given = options.config, options.overrides
    groups = harness.aside(work, given)
    hours = 0.0
    for name, each in groups.items():
        if options.sizes and each["layers"] not in options.sizes:
            continue
        arguments = given, name, options.steps
        contenders = [Contender(OURS, ours, arguments)]
        contenders += [] if options.alone else [Contender(TORCH, peer, arguments)]
        timings = harness.measure(contenders, options.rounds, options.cores, 2, same_losses)
        for timing in timings.values():
            timing.seconds = [seconds / options.steps for seconds in timing.seconds]
        speeds = {n: f"{each['flops'] / t.median / 1e12:.4g} TFLOP/s" for n, t in timings.items()}
        facts = {"group": name, "runs side by side": each["runs"], **speeds}
        pairs = [] if options.alone else [(OURS, TORCH)]
        figures.report(timings, pairs, machine, facts, options.json)
        hours += timings[OURS].median * each["steps"] / 3600
    if not (options.sizes or options.json):
        print(f"all steps of the ladder: {hours:.3g} hours")


if __name__ == "__main__":
    main()
