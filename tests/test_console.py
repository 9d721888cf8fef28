"""What reaches the user's eyes: no secrets, no noise, results for people and for programs."""

import json
import logging

import pytest

from distil_jax.console import print_error, print_result, redact, set_up_logging

TOKEN = "a-secret-of-my-own"
RESULT = {
    "report": "runs/x/report.html",
    "filter": {"kept_hours": 0.51234, "reasons": {"[too] far": 3}},
    "sets": ["a", "b"],
    "nothing": None,
    "texts": [{"audio": "a.wav", "text": "Ünd so"}, {"audio": "b.wav", "error": "empty"}],
}


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def test_secrets_are_taken_out():
    text = f"GET https://me:pass@hub/x with {TOKEN} or hf_abcdefgh12345678"
    assert redact(text) == "GET https://***@hub/x with *** or ***"
    assert redact("runs/quickstart at 12:30: https://hub/x@main") == (
        "runs/quickstart at 12:30: https://hub/x@main"
    )


def test_nothing_printed_holds_a_secret(capsys: pytest.CaptureFixture):
    set_up_logging(debug=True)
    print_error(f"refused: {TOKEN}")
    logging.getLogger("distil_jax.somewhere").info("with %s", TOKEN)
    try:
        raise RuntimeError(TOKEN)
    except RuntimeError:
        logging.getLogger("elsewhere").exception("failed")
    printed = capsys.readouterr().err
    assert TOKEN not in printed
    assert printed.count("***") == 3


@pytest.mark.parametrize("debug", [False, True])
def test_libraries_speak_only_when_asked(capsys: pytest.CaptureFixture, debug: bool):
    set_up_logging(debug)
    logging.getLogger("distil_jax.x").info("ours")
    logging.getLogger("orbax.checkpoint").warning("theirs")
    printed = capsys.readouterr().err
    assert "ours" in printed
    assert ("theirs" in printed) == debug


def test_the_result_is_one_line_of_json(capsys: pytest.CaptureFixture):
    print_result(RESULT, as_json=True)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert json.loads(printed) == RESULT


def test_sentences_are_one_a_line(capsys: pytest.CaptureFixture):
    print_result({"notes": ["First, this", "then that"], "sets": ["a", "b"]}, as_json=False)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["notes  First, this", "       then that", "sets   a, b"]


def test_the_result_is_tables_for_a_reader(capsys: pytest.CaptureFixture):
    print_result(RESULT, as_json=False)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "texts",
        "audio  text    error",
        "a.wav  Ünd so  -",
        "b.wav  -       empty",
        "report                    runs/x/report.html",
        "filter.kept_hours         0.5123",
        "filter.reasons.[too] far  3",
        "sets                      a, b",
        "nothing                   -",
    ]
