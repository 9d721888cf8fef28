"""The settings of decoding and labelling."""

from typing import Annotated, Literal

from pydantic import Field

from distil_jax.settings import AnyDtype, Kernel, Settings

DRAFT_TOKENS = 5  # at once, between two passes of the teacher


class FallbackConfig(Settings):
    """Whisper's second tries (Radford et al. 2022, section 4.5), with OpenAI's thresholds."""

    # Tried one after the other, until a text is good enough; the last one's stays as it is.
    temperatures: tuple[Annotated[float, Field(gt=0)], ...] = (0.2, 0.4, 0.6, 0.8, 1.0)
    # A text whose bytes are more than so many times those of its zlib compression repeats itself.
    max_compression_ratio: float = Field(default=2.4, gt=0)
    # Less than this a token, in nats, is a guess.
    min_mean_logprob: float = Field(default=-1.0, le=0)
    # Above it, and with a guess for a text, there is no speech: no other try makes it better.
    no_speech_prob: float = Field(default=0.6, ge=0, le=1)


class DecodeConfig(Settings):
    """How text is decoded from audio, on the device: greedily, unless a text calls for more."""

    # Clips decoded at once, over all devices of a process.
    batch_size: int = Field(default=16, ge=1)
    # The most tokens a clip may get (or fewer, where the model has no place for so many); the rest
    # of its text is lost, and `ended` is false.
    max_new_tokens: int = Field(default=225, ge=1, le=440)
    task: Literal["transcribe", "translate"] = "transcribe"
    # For clips whose data name no language: a code such as "de", or null to detect it clip by clip.
    language: str | None = None
    # Decode with timestamps, by Whisper's rules.
    timestamps: bool = False
    # Decode clips again, and sample, whose greedy text repeats itself or is a guess; null: never.
    fallback: FallbackConfig | None = None
    # Matrix products: auto is bfloat16 on TPU and GPU, float32 on CPU.
    dtype: AnyDtype = "auto"
    # xla, or splash: on TPUs a kernel for the encoder.
    attention: Kernel = "xla"


class SpeculativeConfig(Settings):
    """Speculative decoding (Leviathan et al. 2023): a smaller model drafts, the teacher verifies.

    Labels are what they are without it; drawn ones (`fallback`) have the same chances.
    It pays where a step of the student costs a small part of the teacher's, as of large models.
    """

    # Weights of the model that drafts, as teacher.weights: of the teacher's vocabulary. An encoder
    # that is the teacher's, number by number, is run once for both.
    student: str | list[str]
    # Of a hub id. null: the newest.
    revision: str | None = None
    # Drafted between two passes of the teacher: more pay where more are accepted.
    tokens: int = Field(default=DRAFT_TOKENS, ge=1, le=32)


class LabelConfig(DecodeConfig):
    # Let a student draft what the teacher writes; null: the teacher writes alone.
    speculative: SpeculativeConfig | None = None
    # Utterances in a file of labels: what a kill may cost is the work on one file.
    shard_size: int = Field(default=512, ge=1)


class SignalsConfig(Settings):
    """The signals cache: what the teacher shows of each clip, written once, read in each epoch."""

    # How many of the most probable tokens are kept at each position (the others as one sum, at the
    # temperature of the recipe's kl); all: the whole distribution, exact at any temperature.
    top_k: Annotated[int, Field(ge=1)] | Literal["all"] = 32
    # Keep what the encoder makes of each clip, too: training then reads no sound, and of the models
    # only the student's decoder runs. For a frozen encoder alone.
    encoder_states: bool = False
    # Of what is stored.
    dtype: Literal["float16", "float32"] = "float16"
    # Clips in a file: what a kill may cost is the work on one file.
    shard_size: int = Field(default=128, ge=1)
    # The folder of a run of the same teacher, data and settings whose cache is read; null: this
    # run makes its own.
    path: str | None = None
