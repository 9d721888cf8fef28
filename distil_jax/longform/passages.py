"""Windows of recordings for the decoder, behind the text before them."""

from dataclasses import dataclass, field, fields
from threading import Lock
from typing import Self

import jax
import numpy as np

from distil_jax.data.batch import pad_samples
from distil_jax.data.speech import Clip
from distil_jax.labelling.decoding import PADDING
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.longform.stream import Sound
from distil_jax.models.log_mel import CLIP_SAMPLES, HOP, MARGIN, Excerpt, loudest

_loudest = jax.jit(loudest, static_argnames="n_mels")


@dataclass(frozen=True)
class Passage(Clip):
    """30 s of a recording, its samples as in Sound.

    loudest: as in log_mel.Excerpt. previous: tokens of the text before it; none where there is none
    or it is not to count.
    """

    frames: int
    loudest: float
    previous: list[int]

    @property
    def alone(self) -> Clip:
        """What lies in its frames, as a clip of its own."""
        given = {f.name: getattr(self, f.name) for f in fields(Clip)}
        sound = self.samples[MARGIN : MARGIN + self.frames * HOP]
        return Clip(**{**given, "samples": sound})


@dataclass(frozen=True, eq=False)
class PassageTranscriber(Transcriber):
    """Decodes passages, with timestamps. conditioned: whether there may be text before them."""

    conditioned: bool = False
    # Several threads ask for the loudest frame, and the first has to compile it.
    _one_by_one: Lock = field(default_factory=Lock, init=False, repr=False)

    @classmethod
    def of(cls, transcriber: Transcriber, conditioned: bool) -> Self:
        """The same model, and the same way of decoding, on the same devices."""
        given = {f.name: getattr(transcriber, f.name) for f in fields(Transcriber) if f.init}
        given["config"] = transcriber.config.model_copy(update={"timestamps": True})
        return cls(**given, conditioned=conditioned)

    @property
    def most_previous(self) -> int:
        """Of the text before a passage, so many tokens are in its prompt (OpenAI's decoding.py)."""
        return self.model.max_target_positions // 2 - 1

    def loudest(self, sound: Sound) -> float:
        """Of one excerpt: see log_mel.loudest."""
        row = jax.device_put((sound.samples[None], np.array([sound.frames], np.int32)))
        with self._one_by_one:
            return float(jax.device_get(_loudest(*row, n_mels=self.model.n_mels))[0])

    def _prompt_of(self, clip: Clip) -> list[int]:
        """Padded in front, so that all begin to be decoded at one place, by one program."""
        assert isinstance(clip, Passage)
        prefix = self.prompt(clip.language)
        if not self.conditioned:
            return prefix
        before = clip.previous[-self.most_previous :]
        before = [self.vocabulary.previous, *before] if before else []
        return [PADDING] * (1 + self.most_previous - len(before)) + before + prefix

    def _sound_of(self, clips: list[Clip]) -> Excerpt:
        filler = self.batch_size - len(clips)
        rows = [*clips, *clips[-1:] * filler]
        passages = [row for row in rows if isinstance(row, Passage)]
        return Excerpt(
            pad_samples([each.samples for each in passages], CLIP_SAMPLES + 2 * MARGIN),
            np.array([each.loudest for each in passages], np.float32),
            np.array([each.frames for each in passages], np.int32),
        )
