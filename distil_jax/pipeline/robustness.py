"""An evaluation set again and again, in more and more noise."""

import heapq
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from distil_jax import processes
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Clip, Corpus, clips
from distil_jax.errors import UserError
from distil_jax.evaluation.noise import Noise, generator
from distil_jax.evaluation.noise_levels import level_row, write_noise_chart
from distil_jax.evaluation.settings import NoiseConfig
from distil_jax.pipeline.comparison import comparison
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.side_by_side import Measure, SideBySide

_VOICES = 64  # recordings that babble is mixed of: some minutes, however large the set


def in_noise(models: SideBySide, corpus: Corpus, config: NoiseConfig) -> dict[str, list[dict]]:
    """By student, a row for each kind and level of noise. Each of them is a measure of its own."""
    session = models.session
    rows: dict[str, list[dict]] = {name: [] for name in models.students}
    voices = cache(lambda: _voices(session, corpus))  # read when a level is not known yet
    for kind in config.kinds:
        for snr_db in config.snr_db:
            noise = Noise(kind, snr_db, session.config.seed, voices, config.talkers)
            for name, compared in models.measure(_level(session, corpus, noise)).items():
                rows[name].append(level_row(kind, snr_db, compared))
    return rows


def draw_noise(folder: Path, name: str, compared: dict[str, Any]) -> None:
    """NAME.noise.png beside the figures of a set that has some in noise."""
    if processes.is_writer():
        write_noise_chart(compared, folder / f"{name}.noise.png")


def _level(session: Session, corpus: Corpus, noise: Noise) -> Measure:
    depends = (noise.kind, noise.snr_db, *([noise.talkers] if noise.kind == "babble" else []))
    name = f"noise/{corpus.name}/{noise.kind}_{noise.snr_db:g}dB"
    return comparison(session, corpus, name, noise, depends)


def _voices(session: Session, corpus: Corpus) -> list[Clip]:
    """Clips to mix babble of, each the beginning of a recording; these are drawn by a hash of their
    ids, so from the whole set. Every process reads the same ones.

    Raises UserError where a clip would find no other's voice.
    """

    def draw(id: str) -> float:
        return generator(session.config.seed, "voice", id).random()

    drawn = heapq.nsmallest(_VOICES, corpus, key=lambda utterance: draw(utterance.id))
    codes = session.teacher.vocabulary.codes
    found: dict[str, Clip] = {}
    for clip in clips(corpus.name, drawn, Quarantine(None), codes):
        if clip.utterance not in found and clip.samples.any():
            # A copy: a piece of a long recording would keep all of it.
            found[clip.utterance] = replace(clip, samples=clip.samples.copy())
    if len(found) < 2:
        raise UserError(
            f"evaluate.noise: babble is mixed of a set's other recordings, but "
            f"data.evaluation.{corpus.name} has fewer than two; set evaluate.noise.kinds=[white]"
        )
    return list(found.values())
