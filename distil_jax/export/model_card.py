"""The README.md of an exported model: what made it, and how well it does."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

_FRAMEWORK = "distil_jax"


def model_card(facts: Mapping[str, Any]) -> str:
    """The text of a model card, Markdown with YAML front matter.

    facts:
      name: of the model. teacher: its source. license: an SPDX id, or None when unknown.
      languages: list of codes. encoder_layers, decoder_layers, parameters: of the student;
      teacher_encoder_layers, teacher_decoder_layers.
      data: list of {name, source, license}, the last two or None.
      filter: summary of labelling.filters.filter_labels. steps: updates.
      objectives: list of {name, weight}.
      evaluation: list of {set, metric ("WER"/"CER"), clips, teacher, student, difference}, the last
      three {rate, low, high} in percent (points for the difference), bounds of the 95% interval.
      formats: those of the export. commands: list of shell lines. version: of distil_jax.
    A missing fact is an error (jinja2.UndefinedError).
    """
    environment = Environment(
        loader=PackageLoader("distil_jax.export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML
    )
    environment.filters["interval"] = _interval
    body = environment.get_template("model_card.md").render(facts)
    front = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n{body}"


def _interval(value: Mapping[str, float]) -> str:
    return f"{value['rate']:.1f} [{value['low']:.1f}, {value['high']:.1f}]"


def _front_matter(facts: Mapping[str, Any]) -> dict[str, Any]:
    front = {
        "library_name": "transformers",
        "pipeline_tag": "automatic-speech-recognition",
        "license": facts["license"],
        "language": list(facts["languages"]),
        "tags": ["whisper", "distillation", _FRAMEWORK],
        "model-index": [{"name": facts["name"], "results": _results(facts["evaluation"])}],
    }
    return {name: value for name, value in front.items() if value}


def _results(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "task": {"type": "automatic-speech-recognition"},
            "dataset": {"name": row["set"], "type": row["set"]},
            "metrics": [{"type": row["metric"].lower(), "value": round(row["student"]["rate"], 2)}],
        }
        for row in rows
    ]
