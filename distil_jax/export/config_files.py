"""The JSON files beside the weights: model, generation and preprocessor config."""

from collections.abc import Mapping
from typing import Any

from distil_jax.models.alignment_heads import Heads
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.vocabulary import Vocabulary

SAMPLE_RATE = 16_000
_HOP, _WINDOW = 160, 400  # samples between frames, and in one
_FRAMES_PER_POSITION = 2  # the encoder's second convolution halves the frames
# What a generation config must not hand on: heads of another model, and fields that newer
# transformers reject.
_DROPPED = ("alignment_heads", "forced_decoder_ids", "transformers_version", "_from_model_config")


def model_config(config: ModelConfig, vocabulary: Vocabulary, dtype: str) -> dict[str, Any]:
    """config.json. Every id is written: the defaults in transformers fit one vocabulary only."""
    return {
        **config.to_hf(),
        "torch_dtype": dtype,
        "num_hidden_layers": config.encoder_layers,
        "is_encoder_decoder": True,
        "tie_word_embeddings": True,
        "use_cache": True,
        **_ids(vocabulary),
        "begin_suppress_tokens": list(vocabulary.begin_suppress) or None,
    }


def repaired_generation_config(
    teacher: Mapping[str, Any],
    config: ModelConfig,
    vocabulary: Vocabulary,
    alignment_heads: Heads | None,
) -> dict[str, Any]:
    """generation_config.json: the teacher's, made true for the student.

    Ids come from the vocabulary. alignment_heads: the student's own, for word timestamps; those of
    the teacher are dropped: the student may not have them, and training may have changed what they
    look at.
    """
    kept = {name: value for name, value in teacher.items() if name not in _DROPPED}
    lists = {
        "suppress_tokens": list(vocabulary.suppress) or None,
        "begin_suppress_tokens": list(vocabulary.begin_suppress) or None,
        "alignment_heads": [list(head) for head in alignment_heads or ()] or None,
    }
    repaired = {
        "max_length": config.max_target_positions,
        "return_timestamps": False,
        **kept,
        **_ids(vocabulary),
        **lists,
        "is_multilingual": vocabulary.is_multilingual,
        "no_timestamps_token_id": vocabulary.no_timestamps,
        "prev_sot_token_id": vocabulary.previous,
        **_languages_and_tasks(vocabulary, kept.get("task")),
    }
    return {name: value for name, value in repaired.items() if value is not None}


def preprocessor_config(config: ModelConfig) -> dict[str, Any]:
    """preprocessor_config.json: how audio becomes the log-mel input."""
    frames = config.max_source_positions * _FRAMES_PER_POSITION
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": config.n_mels,
        "sampling_rate": SAMPLE_RATE,
        "hop_length": _HOP,
        "n_fft": _WINDOW,
        "chunk_length": frames * _HOP // SAMPLE_RATE,
        "n_samples": frames * _HOP,
        "nb_max_frames": frames,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }


def _ids(vocabulary: Vocabulary) -> dict[str, int]:
    ends = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {**dict.fromkeys(ends, vocabulary.end), "decoder_start_token_id": vocabulary.start}


def _languages_and_tasks(vocabulary: Vocabulary, task: str | None) -> dict[str, Any]:
    """English-only models have neither: transformers takes their presence for multilingual.

    A task is always named: without it, and with the language to be detected, transformers gives the
    decoder no task token at all.
    """
    if not vocabulary.is_multilingual:
        return {"lang_to_id": None, "task_to_id": None, "language": None, "task": None}
    tasks = {"transcribe": vocabulary.transcribe, "translate": vocabulary.translate}
    languages = {f"<|{code}|>": i for code, i in vocabulary.languages.items()}
    return {"lang_to_id": languages, "task_to_id": tasks, "task": task or "transcribe"}
