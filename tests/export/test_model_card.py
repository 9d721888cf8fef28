"""The model card says what made the model; a fact that is missing is an error."""

import jinja2
import pytest
import yaml

from distil_jax.export.model_card import model_card

FACTS = {
    "name": "small",
    "teacher": "package:weights/model",
    "license": "mit",
    "languages": ["en", "no"],
    "encoder_layers": 4,
    "decoder_layers": 3,
    "teacher_encoder_layers": 4,
    "teacher_decoder_layers": 4,
    "parameters": 34567890,
    "data": [
        {"name": "asterisk", "source": "https://example.org", "license": "CC BY-SA 3.0"},
        {"name": "mine", "source": None, "license": None},
    ],
    "filter": {
        "kept_clips": 117,
        "dropped_clips": 9,
        "kept_hours": 0.123,
        "dropped_hours": 0.045,
        "max_error_rate": 20.0,
        "unreferenced_clips": 0,
        "reasons": {"error rate >= 20": 8, "empty label": 1},
    },
    "steps": 120,
    "objectives": [{"name": "cross_entropy", "weight": 0.8}, {"name": "kl", "weight": 1.0}],
    "evaluation": [
        {
            "set": "held_out",
            "metric": "WER",
            "clips": 32,
            "teacher": {"rate": 6.94, "low": 4.0, "high": 9.96},
            "student": {"rate": 7.86, "low": 5.0, "high": 11.0},
            "difference": {"rate": 0.92, "low": -0.5, "high": 2.3},
        }
    ],
    "formats": ["hugging_face", "ctranslate2"],
    "commands": ["distil-jax run configs/quickstart.yaml", "distil-jax export x"],
    "version": "0.1.0",
}


def parts(text):
    """(front matter as a value, the rest)."""
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_every_fact_is_in_the_card():
    front, body = parts(model_card(FACTS))
    assert front["license"] == "mit"
    assert front["language"] == ["en", "no"]  # not the YAML 1.1 falsehood
    assert front["model-index"][0]["results"][0]["metrics"] == [{"type": "wer", "value": 7.86}]
    for part in (
        "`package:weights/model`",
        "34,567,890 parameters",
        "| held_out | WER | 32 | 6.9 [4.0, 10.0] | 7.9 [5.0, 11.0] | 0.9 [-0.5, 2.3] |",
        "- asterisk, https://example.org (CC BY-SA 3.0)\n- mine\n",
        "117 labelled clips (0.12 hours) were kept, 9 (0.04 hours) dropped.\n",
        "below lambda = 20.0% against its reference.\n",
        "- dropped, error rate >= 20: 8 clips\n- dropped, empty label: 1 clips\n",
        "120 updates on 0.8 * cross_entropy + 1.0 * kl.",
        "distil-jax run configs/quickstart.yaml\ndistil-jax export x\n```",
    ):
        assert part in body


def test_an_unmeasured_unevaluated_model_of_unknown_licence():
    kept = {**FACTS["filter"], "max_error_rate": None, "unreferenced_clips": 117, "reasons": {}}
    front, body = parts(model_card({**FACTS, "license": None, "filter": kept, "evaluation": []}))
    assert "license" not in front
    assert "lambda" not in body
    assert "117 clips have no reference: their labels were not measured.\n" in body
    assert "| not evaluated |" in body
    assert "Not stated." in body


def test_a_missing_fact_is_an_error():
    facts = {name: value for name, value in FACTS.items() if name != "steps"}
    with pytest.raises(jinja2.UndefinedError, match="steps"):
        model_card(facts)
