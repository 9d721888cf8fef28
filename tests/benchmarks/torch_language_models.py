"""A step of a ladder's group in PyTorch: transformers' Qwen3, student by student."""

from collections.abc import Callable
from typing import Any

from tests.benchmarks.ladder_groups import Config, largest, read, tokens, untrained


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
