"""Weights in: a Hugging Face or CTranslate2 model -> config, parameters, vocabulary.

And parameters to the Hugging Face state dict, by the same name table.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from distil_jax.errors import UserError
from distil_jax.models import ARCHITECTURES, safetensors_files, state_dict
from distil_jax.models.architecture import ModelConfig, architecture_of
from distil_jax.models.ctranslate2 import read_variables
from distil_jax.models.ctranslate2_whisper import generation_config, whisper_state
from distil_jax.models.state_dict import Params, Shapes
from distil_jax.models.tokenizer_files import has_tokenizer, read_tokenizer
from distil_jax.models.vocabulary import Vocabulary, make_vocabulary
from distil_jax.models.weight_files import bin_parts, model_files, read_object

HEAD, EMBEDDING = "proj_out.weight", "model.decoder.embed_tokens.weight"


@dataclass(frozen=True)
class Pretrained:
    """A model as it came in."""

    config: ModelConfig
    params: Params  # nested dict of numpy arrays; layers stacked on axis 0
    tokenizer: Vocabulary | None  # None when the folder has no tokenizer files
    generation_config: dict[str, Any]
    source: str
    fingerprint: str  # sha256 of the weight files, in hex

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary; a UserError when there was none."""
        if self.tokenizer is None:
            raise UserError(
                f"{self.source}: the model has no tokenizer. Put tokenizer.json beside its weights."
            )
        return self.tokenizer


@dataclass(frozen=True)
class _Checkpoint:
    """What every format is brought to before the name table is applied."""

    config: dict[str, Any]
    state: dict[str, np.ndarray]
    generation_config: dict[str, Any]
    sha256: str


def load_pretrained(
    locations: str | Sequence[str],
    sha256: str | None = None,
    revision: str | None = None,
    dtype: str = "float32",
) -> Pretrained:
    """The model at a folder, hub id or package, or whose files lie in several of them.

    sha256: what the weight file must hash to, in hex (of all parts or shards joined in order).
    revision: of hub ids. dtype: float32, float16 or bfloat16, of the parameters in memory.
    Raises UserError when files are missing, damaged, or do not fit each other.
    """
    locations = [locations] if isinstance(locations, str) else list(locations)
    source = " + ".join(locations)
    files = model_files(locations, revision)
    checkpoint = _read(files, source, sha256)
    config = config_class(checkpoint.config, source).from_hf(checkpoint.config)
    state = _without_head(checkpoint.state, source)
    table, shapes = name_table(config), parameter_shapes(config)
    params = state_dict.from_state_dict(state, table, shapes, source, dtype)
    generation = checkpoint.generation_config
    tokenizer = _tokenizer(files, generation, config.vocab_size, source)
    return Pretrained(config, params, tokenizer, generation, source, checkpoint.sha256)


def to_state_dict(
    config: ModelConfig, params: Params, dtype: str = "float32"
) -> dict[str, np.ndarray]:
    """Parameters under their Hugging Face names, numpy arrays of `dtype`, without the tied head."""
    return state_dict.to_state_dict(params, name_table(config), dtype)


def config_class(config: Mapping[str, Any], source: str) -> type[ModelConfig]:
    """The config class of the architecture that a config.json names by its `model_type`."""
    model_type = config.get("model_type")
    if model_type not in ARCHITECTURES:
        raise UserError(
            f"{source}: model_type '{model_type}' in config.json; "
            f"expected one of {', '.join(ARCHITECTURES)}"
        )
    module, _, name = ARCHITECTURES[model_type].partition(":")
    return getattr(importlib.import_module(module), name)


def name_table(config: ModelConfig) -> tuple[state_dict.Row, ...]:
    """The name table of the architecture that `config` belongs to."""
    return architecture_of(config).NAME_TABLE


def parameter_shapes(config: ModelConfig) -> Shapes:
    """The shape of each parameter, by its path; nothing is computed."""
    shapes = jax.eval_shape(lambda: architecture_of(config).init(config))
    leaves = jax.tree_util.tree_flatten_with_path(shapes)[0]
    return {tuple(key.key for key in path): leaf.shape for path, leaf in leaves}


def _read(files: dict[str, Path], source: str, sha256: str | None) -> _Checkpoint:
    parts = bin_parts(files)
    if parts:
        variables = read_variables(parts, sha256)
        config, state = whisper_state(variables)
        generation = generation_config(read_object(files, "config.json"))
        return _Checkpoint(config, state, generation, variables.sha256)
    shards = safetensors_files.shards(files, source)
    digest = safetensors_files.digest(shards, sha256)
    config = read_object(files, "config.json")
    # Models older than generation_config.json keep the same fields in config.json.
    generation = read_object(files, "generation_config.json") or _generation_fields(config)
    return _Checkpoint(config, safetensors_files.read_tensors(shards), generation, digest)


def _generation_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    names = ("suppress_tokens", "begin_suppress_tokens")
    return {name: config[name] for name in names if config.get(name) is not None}


def _without_head(state: dict[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    """The head is the embedding; a checkpoint may store it twice, but not two different ones."""
    if HEAD not in state:
        return state
    same = EMBEDDING in state and np.array_equal(state[HEAD], state[EMBEDDING])
    if not same:
        raise UserError(
            f"{source}: {HEAD} differs from {EMBEDDING}. Expected a head tied to the embedding, "
            f"as in every published Whisper."
        )
    return {name: array for name, array in state.items() if name != HEAD}


def _tokenizer(
    files: Mapping[str, Path], generation: Mapping[str, Any], size: int, source: str
) -> Vocabulary | None:
    if not has_tokenizer(files):
        return None
    return make_vocabulary(read_tokenizer(files, source), generation, size, source)
