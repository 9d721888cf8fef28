"""What the stages know of the signals cache: where it is, what is in it, what it was made with."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from distil_jax.data.loader import Example, target_of
from distil_jax.errors import ConfigError
from distil_jax.labelling.settings import SignalsConfig
from distil_jax.labelling.signal_store import ClipKey, SignalStore
from distil_jax.labelling.teacher_signals import TeacherSignals
from distil_jax.mesh import MeshConfig, make_mesh
from distil_jax.models.layers import Compute
from distil_jax.objectives import KLDivergence
from distil_jax.objectives.signals import Teacher
from distil_jax.pipeline.examples import target_tokens
from distil_jax.pipeline.session import Session, compute_dtype
from distil_jax.run import RunFolder, fingerprint


def with_signals(session: Session, examples: Sequence[Example]) -> list[Example]:
    """The same examples, each with what the cache has of it. Raises UserError for lacking ones."""
    store = signal_store(session)
    store.check(made_with(session))
    found = store.find(clip_keys(session, examples))
    return [replace(e, stored=stored) for e, stored in zip(examples, found, strict=True)]


def stored_shapes(
    session: Session, clips: int, positions: int
) -> tuple[Teacher | None, jax.ShapeDtypeStruct | None]:
    """What a training batch carries of a cache, as shapes: (None, None) where there is none."""
    if session.config.signals is None:
        return None, None
    return teacher_signals(session).shapes(session.teacher.params, clips, positions)


def signals_settings(session: Session) -> SignalsConfig:
    if session.config.signals is None:
        raise ConfigError(
            "signals is null: this config trains without a cache. To make one, give its section, "
            "as signals.top_k=32"
        )
    return session.config.signals


def signal_store(session: Session) -> SignalStore:
    path = signals_settings(session).path
    return SignalStore((session.folder if path is None else RunFolder(Path(path))).signals)


def made_with(session: Session) -> dict[str, Any]:
    """What the cache depends on, under names that a message can use."""
    config, settings = session.config, signals_settings(session)
    exact = settings.top_k == "all"
    return {
        "teacher": session.teacher.fingerprint,
        "teacher.weight_dtype": config.teacher.weight_dtype,
        **{f"labels of {name}": session.label_fingerprint(name) for name in config.data.train},
        "signals.top_k": settings.top_k,
        "signals.encoder_states": settings.encoder_states,
        "signals.dtype": settings.dtype,
        "temperature of kl": None if exact else _temperature(session),
        "train.dtype": compute_dtype(config.train.dtype),
        "train.pack_clips": config.train.pack_clips,
        "train.timestamp_probability": config.train.timestamp_probability,
        "train.previous_text_probability": config.train.previous_text_probability,
    }


def _temperature(session: Session) -> float:
    """At which the recipe looks at the teacher."""
    recipe = session.config.objectives
    return next((each.temperature for each in recipe if isinstance(each, KLDivergence)), 1.0)


def clip_keys(session: Session, examples: Sequence[Example]) -> list[ClipKey]:
    train, positions = session.config.train, session.teacher.config.max_target_positions
    ids = target_tokens(session.teacher.vocabulary, positions)
    kinds = train.timestamp_probability == 1, train.previous_text_probability == 1
    targets = [target_of(example, ids, *kinds) for example in examples]
    return [
        ClipKey(example.corpus, example.id, fingerprint(target.inputs.tolist()), len(target))
        for example, target in zip(examples, targets, strict=True)
    ]


def teacher_signals(session: Session) -> TeacherSignals:
    """On the devices of this process, as labelling: each process makes shards of its own."""
    train, mesh = session.config.train, MeshConfig()
    return TeacherSignals(
        model=session.teacher.config,
        config=signals_settings(session),
        temperature=_temperature(session),
        chunk=train.loss_chunk,
        mesh=make_mesh(mesh, jax.local_devices()),
        rules=mesh.rules,
        compute=Compute(dtype=compute_dtype(train.dtype), attention=train.attention),
        weights=session.config.teacher.weight_dtype,
    )
