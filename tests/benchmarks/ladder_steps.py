"""Steps of a ladder's runs, ours against PyTorch's, on whatever device is there.

    python -m tests.benchmarks.ladder_steps CONFIG.yaml [KEY=VALUE ...] [--sizes 4 8] [--rounds 3]
    python -m tests.benchmarks.ladder_steps CONFIG.yaml train.attention=xla --alone

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
from typing import Any

from tests.benchmarks import figures, harness
from tests.benchmarks.harness import Contender, Timing

OURS, TORCH = "ours", "torch compiled"
TOLERANCE = 2e-2  # of a loss: bfloat16
Config = tuple[str, list[str]]  # its file, and what is laid over it


def read(given: Config) -> Any:
    """Without a warm-up, so that the first step shows in the second's loss."""
    import os
    from pathlib import Path

    # Before jax starts: the other contender needs memory of the device, too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    from distil_jax.config_file import read_config_file
    from distil_jax.ladder_config import LadderConfig

    path, overrides = given
    return read_config_file(LadderConfig, Path(path), [*overrides, "train.warmup_share=0"])


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


def named(group: Any) -> str:
    return f"{group[0].layers} layers, {'taught' if group[0].teacher else 'alone'}"


def largest(config: Any) -> dict[str, Any]:
    """Of each size, alone and taught, the group of most runs."""
    found: dict[str, Any] = {}
    for group in config.groups:
        if len(group) > len(found.get(named(group), ())):
            found[named(group)] = group
    return found


def untrained(config: Any, on: Any = None) -> Any:
    """A ladder whose teachers are random, of heads that are not all zero. on: another mesh."""
    import numpy as np

    from distil_jax.algorithms.language_modelling import TeacherModel
    from distil_jax.models import language_model
    from distil_jax.pipeline.ladder import Ladder

    class Untrained(Ladder):
        def _teacher(self, rung: Any) -> TeacherModel:
            model = self.config.models.of(rung.layers)
            params = language_model.init(model, 1)
            head = np.random.default_rng(0).normal(size=params["head"].shape)
            return TeacherModel(model, {**params, "head": (head / model.width).astype("float32")})

    made = Untrained(config)
    if on is not None:
        made.mesh = on
    return made


def tokens(config: Any) -> Any:
    import numpy as np

    shape = config.train.batch_size, config.models.context + 1
    return np.random.default_rng(0).integers(0, config.models.vocabulary, shape, dtype=np.int32)


def ours(given: Config, name: str, steps: int) -> Callable[[], list[float]]:
    import jax

    from distil_jax.allocator import keep_freed_memory
    from distil_jax.mesh import split_batch

    if jax.default_backend() == "cpu":
        keep_freed_memory(share=False)  # as the ladder does
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


def in_turn(run: Callable[[int], list[float]], steps: int) -> Callable[[], list[float]]:
    """One step each of the first two times, for the check; then `steps`."""
    called = 0

    def each() -> list[float]:
        nonlocal called
        called += 1
        return run(1 if called <= 2 else steps)

    return each


def peer(given: Config, name: str, steps: int) -> Callable[[], list[float]]:
    import torch
    from torch.nn import functional as F

    config = read(given)
    group = largest(config)[name]
    algorithm = untrained(config).algorithm(group)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    students = [torch_model(algorithm.model, s.params) for s in algorithm.students.values()]
    students = [student.to(device).train() for student in students]
    teachers = {
        n: torch_model(t.config, t.params).to(device) for n, t in algorithm.teachers.items()
    }
    scale = algorithm.base_width / algorithm.model.width
    optimizers = [torch_optimizer(student, config, scale) for student in students]
    batch = torch.from_numpy(tokens(config)).long().to(device)
    inputs, labels = batch[:, :-1], batch[:, 1:]

    def logits_of(model: Any) -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            return model(input_ids=inputs, use_cache=False).logits

    @torch.compile
    def alone(model: Any) -> Any:
        logits = logits_of(model).float()
        z_loss = torch.logsumexp(logits, -1).square().mean()
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten()) + 1e-4 * z_loss

    @torch.compile
    def taught(model: Any, shown: Any) -> Any:
        logits = logits_of(model).float()
        log_p, log_q = F.log_softmax(logits, -1), F.log_softmax(shown.float(), -1)
        z_loss = torch.logsumexp(logits, -1).square().mean()
        return (log_q.exp() * (log_q - log_p)).sum(-1).mean() + 1e-4 * z_loss

    forward = torch.compile(logits_of)

    def run(count: int) -> list[float]:
        losses: list[Any] = []
        for _ in range(count):
            losses = []
            with torch.no_grad():
                shown = {n: forward(teacher) for n, teacher in teachers.items()}
            for student, each, rung in zip(students, optimizers, group, strict=True):
                loss = taught(student, shown[rung.teacher]) if rung.teacher else alone(student)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(
                    student.parameters(), config.train.optimizer.clip_norm
                )
                each.step()
                each.zero_grad(set_to_none=True)
                losses.append(loss.detach())
        return [loss.item() for loss in losses]

    return in_turn(run, steps)


def torch_model(model: Any, params: dict) -> Any:
    """The same model in PyTorch."""
    import jax
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from distil_jax.models.language_model import NAME_TABLE
    from distil_jax.models.state_dict import to_state_dict

    made = Qwen3ForCausalLM._from_config(Qwen3Config(**model.to_hf()), attn_implementation="sdpa")
    tensors = to_state_dict(jax.device_get(params), NAME_TABLE)
    made.load_state_dict({name: torch.tensor(each) for name, each in tensors.items()})
    return made


def torch_optimizer(student: Any, config: Any, scale: float) -> Any:
    """scale: of the rates of matrices."""
    import torch

    settings = config.train.optimizer
    rates: dict[float, list[Any]] = {1.0: [], scale: []}
    for name, parameter in student.named_parameters():
        rates[scale if "proj" in name or "head" in name else 1.0].append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "lr": settings.learning_rate * share} for share, p in rates.items()],
        betas=(settings.b1, settings.b2),
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
        fused=True,
    )


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
    if not options.sizes:
        print(f"all steps of the ladder: {hours:.3g} hours")


if __name__ == "__main__":
    main()
