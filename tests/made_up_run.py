"""A run folder as the stages leave it, made up: for tests of what reads such folders."""

import json
import math
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from distil_jax.evaluation.error_rates import compare
from distil_jax.labelling.filters import FilterConfig, filter_labels, write_histogram
from distil_jax.run import RunFolder, append_jsonl, atomic_path, write_json, write_text

WORDS = ["the", "of", "and", "to", "a", "in", "is", "you", "that", "it", "he", "was", "for", "on"]


def heard(text: str, rng: random.Random, errors: float) -> str:
    """`text` with words left out, replaced and put in, each at a third of the rate `errors`."""
    words = []
    for word in text.split():
        draw = rng.random() * 3
        if draw < errors:
            continue
        words.append(rng.choice(WORDS) if draw < 2 * errors else word)
        if draw > 3 - errors:
            words.append(rng.choice(WORDS))
    return " ".join(words)


def sentences(count: int, rng: random.Random) -> list[str]:
    return [" ".join(rng.choices(WORDS, k=rng.randint(3, 18))) for _ in range(count)]


def label_rows(count: int, seed: int = 0) -> list[dict]:
    rng = random.Random(seed)
    return [
        {
            "id": f"clip-{i}",
            "corpus": "made_up",
            "duration": rng.uniform(1, 30),
            "reference": text,
            "label": heard(text, rng, rng.choice([0.0, 0.1, 0.8])),
            "language": "en",
        }
        for i, text in enumerate(sentences(count, rng))
    ]


def evaluation_rows(count: int, seed: int = 1) -> list[dict]:
    rng = random.Random(seed)
    return [
        {
            "id": f"clip-{i}",
            "language": "en",
            "duration": rng.uniform(1, 30),
            "reference": text,
            "teacher": heard(text, rng, 0.06),
            "student": heard(text, rng, 0.12),
        }
        for i, text in enumerate(sentences(count, rng))
    ]


def write_filter(run: RunFolder, rows: list[dict], config: FilterConfig | None = None) -> None:
    config = config or FilterConfig()
    scores, summary = filter_labels(pa.Table.from_pylist(rows), config)
    with atomic_path(run.filter / "scores.parquet") as path:
        pq.write_table(scores, path)
    write_json(run.filter / "summary.json", summary)
    write_histogram(scores, config.max_error_rate, run.filter / "histogram.png")


def write_training(run: RunFolder, steps: int) -> None:
    flops = {"encoder_forward": 3e11, "teacher_forward": 4e10}
    flops |= {"student_forward": 3e10, "student_backward": 5e10}
    seconds = {"compile": 0.0, "data_wait": 0.1, "step": 3.2, "evaluation": 0.0, "checkpoint": 0.2}
    counts = {"clips": 16, "audio_seconds": 480.0, "target_tokens": 310}
    rng = random.Random(2)
    for step in range(5, steps + 1, 5):
        kl, cross_entropy = (
            start * math.exp(-step / steps) + rng.gauss(0, 0.03) for start in (2.0, 1.4)
        )
        values = {"cross_entropy": cross_entropy, "kl": kl, "loss": 0.8 * cross_entropy + kl}
        rest = {"grad_norm": 9 + rng.random(), "learning_rate": 2e-4 * (1 - step / steps)}
        append_jsonl(run.metrics, [{"step": step, "kind": "train", **values, **rest}])
        device = {"kind": "cpu", "count": 2}
        row = {"stage": "train", "step": step, **counts, "flops": flops, "seconds": seconds}
        append_jsonl(run.compute, [{**row, "device": device, "losses": values}])
        if step % (steps // 4) == 0:
            rate = 8 + 10 * math.exp(-4 * step / steps)
            append_jsonl(run.metrics, [{"step": step, "kind": "validation", "error_rate": rate}])


def write_evaluation(run: RunFolder, name: str, rows: list[dict]) -> None:
    with atomic_path(run.evaluation / f"{name}.parquet") as path:
        pq.write_table(pa.Table.from_pylist(rows), path)
    found = compare(rows, seed=0, resamples=200)
    for role, parameters, factor in (("teacher", 37_760_256, 0.091), ("student", 35_394_432, 0.06)):
        found[role] |= {"parameters": parameters, "real_time_factor": factor}
        found[role] |= {"compile_seconds": 2.31, "seconds": 20.0, "audio_seconds": 300.0}
    path = run.evaluation / "summary.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_json(path, {**before, name: found})


def write_export(run: RunFolder) -> None:
    write_text(run.export / "model.safetensors", "weights")
    proof = {"folder": str(run.export), "step": 120, "parameters": 35_394_432}
    write_json(run.root / "export.json", {"made_with": "x", **proof, "max_logit_difference": 0.0})


def write_run(root: Path) -> RunFolder:
    """A whole run."""
    run = RunFolder(root)
    write_text(
        run.config,
        "name: made_up\nteacher: {weights: some/folder}\nstudent: {decoder_layers: 3}\n"
        "objectives:\n- {name: cross_entropy, weight: 0.8}\n- {name: kl, weight: 1.0}\n"
        "train: {steps: 120, batch_size: 16}\nfilter: {max_error_rate: 10.0}\nseed: 0\n",
    )
    write_filter(run, label_rows(120))
    reasons = [("a.wav", "no samples"), ("b.wav", "silent"), ("c.wav", "silent")]
    rows = [{"id": id, "corpus": "made_up", "reason": why} for id, why in reasons]
    append_jsonl(run.quarantine, rows)
    write_training(run, 120)
    write_evaluation(run, "held_out", evaluation_rows(40))
    write_export(run)
    return run
