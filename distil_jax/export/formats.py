"""A student in every format that was asked for: one folder, written in one stroke.

What `transformers` loads lies in the folder itself, the other formats in folders of their names.
"""

from pathlib import Path
from typing import Any

from distil_jax.export import ctranslate2, ggml, hugging_face
from distil_jax.export.folders import atomic_folder
from distil_jax.export.settings import ExportConfig, Format
from distil_jax.export.student import Student
from distil_jax.export.verify import Logits
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.vocabulary import Vocabulary

_MODULES: dict[Format, Any] = {
    "hugging_face": hugging_face,
    "ctranslate2": ctranslate2,
    "ggml": ggml,
}


def check_exportable(config: ModelConfig, vocabulary: Vocabulary, settings: ExportConfig) -> None:
    """Raises ConfigError where a format cannot hold such a student."""
    for name in settings.formats:
        if name != "hugging_face":
            _MODULES[name].check_exportable(config, vocabulary)


def is_written(path: Path, settings: ExportConfig) -> bool:
    """Whether the weights of every format are there."""
    return all(_weights(path, name).is_file() for name in settings.formats)


def write_formats(path: Path, student: Student, settings: ExportConfig) -> None:
    """Write the folder `path`: a kill leaves the old one or none, with all formats or without.

    Raises UserError when `path` holds something that is not a model. What `check_exportable`
    refuses is written all the same, and of no use.
    """
    with atomic_folder(path, [str(_weights(Path(), name)) for name in _MODULES]) as folder:
        for name in settings.formats:
            _folder(folder, name).mkdir(exist_ok=True)
            options = _options(name, settings)
            _MODULES[name].write_files(_folder(folder, name), student, **options)


def verify_formats(
    path: Path, student: Student, settings: ExportConfig, logits: Logits
) -> dict[str, Any]:
    """Read every format again and compare it with the student; see export.verify.

    Returns {"parameters", "max_logit_difference" (the largest of all formats), "formats": {name:
    {"weights": their precision, "megabytes", "max_logit_difference"}}}. Raises UserError that names
    what differs.
    """
    formats, parameters = {}, 0
    for name in settings.formats:
        folder, options = _folder(path, name), _options(name, settings)
        verified = _MODULES[name].verify_files(folder, student, logits, **options)
        parameters = verified.pop("parameters")
        files = [each for each in folder.iterdir() if each.is_file()]
        size = round(sum(each.stat().st_size for each in files) / 1e6, 3)
        precision = next(iter(options.values()), ggml.PRECISION)
        formats[name] = {"weights": precision, "megabytes": size, **verified}
    largest = max(each["max_logit_difference"] for each in formats.values())
    return {"parameters": parameters, "max_logit_difference": largest, "formats": formats}


def _folder(path: Path, name: Format) -> Path:
    return path if name == "hugging_face" else path / name


def _weights(path: Path, name: Format) -> Path:
    return _folder(path, name) / _MODULES[name].WEIGHTS


def _options(name: Format, settings: ExportConfig) -> dict[str, str]:
    """The precision, where there is a choice, as write_files and verify_files call it."""
    options: dict[Format, dict[str, str]] = {
        "hugging_face": {"dtype": settings.dtype},
        "ctranslate2": {"weights": settings.ctranslate2_weights},
        "ggml": {},
    }
    return options[name]
