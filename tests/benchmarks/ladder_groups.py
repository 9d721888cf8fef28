"""A ladder's groups of runs as benchmarks take them: the largest of each size, untrained."""

from typing import Any

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
