"""False alarms, counted by hand; Wilson's interval against scipy's."""

import pytest
from scipy.stats import binomtest

from distil_jax.evaluation.no_speech import compare_false_alarms, false_alarms, wilson_interval


def row(
    text: str, kind: str = "hum", prob: float = 0.1, logprob: float = -0.3, language="en"
) -> dict:
    return {
        "kind": kind,
        "duration": 30.0,
        "text": text,
        "language": language,
        "no_speech_prob": prob,
        "mean_logprob": logprob,
    }


@pytest.mark.parametrize("count,of", [(0, 20), (20, 20), (1, 120), (7, 9), (60, 120), (0, 1)])
def test_the_interval_is_wilsons(count, of):
    theirs = binomtest(count, of).proportion_ci(0.95, method="wilson")
    expected = [100 * theirs.low, 100 * theirs.high]
    assert wilson_interval(count, of) == pytest.approx(expected, abs=5e-5)


def test_a_share_of_nothing_has_no_interval():
    assert wilson_interval(0, 0) is None
    assert false_alarms([]) == {
        "false_alarms": 0,
        "rate": None,
        "interval": None,
        "words_per_minute": None,
    }


@pytest.mark.parametrize("text", ["", " ", "...", "[Music]", "(applause)", "♪♪", "!?", "um"])
def test_what_is_no_word_is_no_alarm(text):
    assert false_alarms([row(text)])["false_alarms"] == 0


def test_words_are_alarms():
    found = false_alarms([row("Thank you."), row("..."), row("you"), row("")])
    assert (found["false_alarms"], found["rate"]) == (2, 50.0)
    assert found["words_per_minute"] == 1.5  # three in two minutes
    assert found["interval"] == wilson_interval(2, 4)
    assert false_alarms([row("谢谢观看", language="zh")])["words_per_minute"] == 8


def test_the_gate_is_whispers_rule():
    rows = [
        row("so", prob=0.7, logprob=-1.2),  # silence
        row("so", prob=0.7, logprob=-0.9),  # sure of its words
        row("so", prob=0.5, logprob=-1.2),  # sure that there is speech
        row("so", prob=0.6, logprob=-1.0),  # at both limits
    ]
    assert false_alarms(rows)["false_alarms"] == 4
    assert false_alarms(rows, gated=True)["false_alarms"] == 3


def test_both_models_and_every_kind():
    teacher = [row("", "silence"), row("you", "silence", 0.9, -2.0), row("", "hum"), row("", "hum")]
    student = [row("a b", "silence"), row("c", "silence"), row("d", "hum"), row("", "hum")]
    found = compare_false_alarms({"teacher": teacher, "student": student})
    assert (found["clips"], found["seconds"]) == (4, 120.0)
    assert (found["teacher"]["rate"], found["teacher"]["gated"]["rate"]) == (25.0, 0.0)
    assert (found["student"]["rate"], found["student"]["gated"]["rate"]) == (75.0, 75.0)
    silence, hum = found["by_kind"]
    assert (silence["kind"], silence["clips"], hum["kind"]) == ("silence", 2, "hum")
    assert (silence["teacher"], silence["teacher_gated"], silence["student"]) == (50.0, 0.0, 100.0)
    assert silence["student_words_per_minute"] == 3.0
    assert (hum["teacher"], hum["student"]) == (0.0, 50.0)
    assert hum["student_interval"] == wilson_interval(1, 2)
