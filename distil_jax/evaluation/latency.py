"""How long a clip takes at a batch size, on one device; compiling is not in the seconds."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from distil_jax.data.batch import pad_samples
from distil_jax.data.speech import Clip
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.mesh import MeshConfig, make_mesh, replicated
from distil_jax.models.log_mel import CLIP_SAMPLES, log_mel

_ROLES = ("teacher", "student")

# Of each repeat, seconds a clip: {"whole": ..., "features": ...}.
Times = Mapping[str, Sequence[float]]


def time_batches(
    transcriber: Transcriber, params: dict, clips: Sequence[Clip], batch: int, repeats: int
) -> dict[str, list[float]]:
    """All clips through the model, `batch` at a time one after the other, again and again.

    params: as `transcriber.place` gives them; the first of their devices works alone. A first round
    compiles and does not count. The clips are the same whatever the batch, so that sizes compare;
    a last batch with fewer clips is filled up.
    Returns {"whole": seconds a clip of each round, from samples on the host to text, "features":
    the same, only up to the log-mel spectrogram on the device}.
    """
    one = _on_one_device(transcriber, batch)
    placed = jax.device_put(params, replicated(one.mesh))
    batches = [list(clips[first : first + batch]) for first in range(0, len(clips), batch)]
    device = one.mesh.devices.flat[0]
    features = jax.jit(partial(log_mel, n_mels=one.model.n_mels))

    def to_text() -> None:
        for each in batches:
            list(one(placed, each))

    def to_features() -> None:
        for each in batches:
            samples = [clip.samples for clip in each]
            samples += [np.zeros(0, np.float32)] * (batch - len(each))
            padded = jax.device_put(pad_samples(samples, CLIP_SAMPLES), device)
            jax.block_until_ready(features(padded))

    works = {"whole": to_text, "features": to_features}
    return {name: _seconds(work, repeats, len(clips)) for name, work in works.items()}


def compare_latency(batch: int, sides: Mapping[str, Times]) -> dict[str, Any]:
    """A row of a table: medians and 90th percentiles over repeats, in seconds a clip.

    ratio: how many times as long as the student the teacher takes (of the medians).
    """
    medians = {role: float(np.median(sides[role]["whole"])) for role in _ROLES}
    row: dict[str, Any] = {"batch": batch}
    for role in _ROLES:
        row[role] = round(medians[role], 6)
        row[f"{role}_p90"] = round(float(np.percentile(sides[role]["whole"], 90)), 6)
    for role in _ROLES:
        row[f"{role}_features"] = round(float(np.median(sides[role]["features"])), 6)
    row["ratio"] = round(medians["teacher"] / medians["student"], 4)
    return row


def _on_one_device(transcriber: Transcriber, batch: int) -> Transcriber:
    mesh = make_mesh(MeshConfig(), [transcriber.mesh.devices.flat[0]])
    config = transcriber.config.model_copy(update={"batch_size": batch})
    return replace(transcriber, config=config, mesh=mesh, rules=MeshConfig().rules)


def _seconds(work: Callable[[], None], repeats: int, clips: int) -> list[float]:
    work()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) / clips)
    return taken
