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
    "max_error_rate": 20.0,
    "kept_hours": 0.123,
    "dropped_hours": 0.045,
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
        "lambda = 20.0%:\n0.12 hours kept, 0.04 dropped.",
        "120 updates on 0.8 * cross_entropy + 1.0 * kl.",
        "distil-jax run configs/quickstart.yaml\ndistil-jax export x\n```",
    ):
        assert part in body


def test_an_unfiltered_unevaluated_model_of_unknown_licence():
    front, body = parts(
        model_card({**FACTS, "license": None, "max_error_rate": None, "evaluation": []})
    )
    assert "license" not in front
    assert "No clip was filtered out: 0.12 hours." in body
    assert "| not evaluated |" in body
    assert "Not stated." in body


def test_a_missing_fact_is_an_error():
    facts = {name: value for name, value in FACTS.items() if name != "steps"}
    with pytest.raises(jinja2.UndefinedError, match="steps"):
        model_card(facts)
