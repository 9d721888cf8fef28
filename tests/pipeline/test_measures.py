"""Evaluation beyond error rates: noise, clips without speech, latency, languages."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from distil_jax import pipeline
from distil_jax.config import load_config
from distil_jax.console import print_result
from distil_jax.data.audio import read_audio
from distil_jax.data.folders import ListCorpus
from distil_jax.data.text import count_errors
from distil_jax.errors import ConfigError, UserError
from distil_jax.pipeline import comparison, decoding, false_alarms, latency, robustness
from distil_jax.pipeline.session import Session
from distil_jax.run import read_jsonl
from tests.made_up_inputs import write_inputs, write_sounds

NOISE = "evaluate.noise={snr_db: [10, -2.5], talkers: 2}"
NO_SPEECH = "evaluate.no_speech={clips: 2, seconds: 1, kinds: [silence, hum, music]}"
LATENCY = "evaluate.latency={batches: [2], repeats: 2}"
ALL = [NOISE, NO_SPEECH, LATENCY]
ROLES = ("teacher", "student")
NOTHING = [f"evaluate.{name}=null" for name in ("noise", "no_speech", "latency")]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("made-up"))


@pytest.fixture(scope="module")
def plain(config) -> tuple[Path, dict[str, Any]]:
    """A run evaluated without any of it."""
    loaded = load_config(config, ["evaluate.language=en"])
    pipeline.label(loaded)
    pipeline.filter_labels(loaded)
    pipeline.train(loaded)
    return Path(loaded.run_dir), pipeline.evaluate(loaded)


@pytest.fixture(scope="module")
def whole(plain, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """The same with all of it."""
    run = shutil.copytree(plain[0], tmp_path_factory.mktemp("whole") / "run")
    return run, pipeline.evaluate(load_config(run, ALL))


@pytest.fixture
def run(whole, tmp_path) -> Path:
    return shutil.copytree(whole[0], tmp_path / "run")


@pytest.fixture
def taken(monkeypatch) -> list[str]:
    """What is measured from here on, in its order."""
    seen: list[str] = []

    def watched(module, function, name):
        original = getattr(module, function)

        def wrapped(*arguments):
            seen.append(name(*arguments))
            return original(*arguments)

        monkeypatch.setattr(module, function, wrapped)

    for module in (comparison, false_alarms):
        watched(module, "decode", lambda session, model, title, *_: f"{title} {model.role}")
    watched(latency, "_measure", lambda model, *_: f"latency {model.role}")
    return seen


def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "evaluation" / "summary.json").read_text())


def test_without_these_settings_nothing_more_is_measured(plain):
    run, result = plain
    assert set(result) == {"step", "sets"}
    assert set(summary(run)) == {"held_out"}
    assert {path.name for path in (run / "evaluation").iterdir()} == {
        *("held_out.json", "held_out.parquet", "summary.json")
    }
    assert "noise" not in result["sets"]["held_out"]
    assert "by_language" not in result["sets"]["held_out"]
    for role in ("teacher", "student"):
        measured = result["sets"]["held_out"][role]
        counts = measured["insertions"], measured["reference_length"]
        assert measured["hallucination"]["ier"] == pytest.approx(100 * counts[0] / counts[1])


def test_all_of_it_stands_in_the_result_and_the_summary(whole, plain):
    run, result = whole
    found = result["sets"]["held_out"]
    assert summary(run) == {**result["sets"], "no_speech": result["no_speech"]}
    before = plain[1]["sets"]["held_out"]
    assert {name: found[name] for name in before} == before
    assert [(row["noise"], row["snr_db"]) for row in found["noise"]] == [
        *(("white", 10), ("white", -2.5), ("babble", 10), ("babble", -2.5))
    ]
    for row in found["noise"]:
        assert row["difference"] == pytest.approx(row["student"] - row["teacher"], abs=1e-3)
        assert row["teacher_interval"][0] <= row["teacher_interval"][1]
    assert [row["batch"] for row in found["latency"]] == [2]
    for row in found["latency"]:
        assert row["teacher"] >= row["teacher_features"] > 0
        assert row["student"] >= row["student_features"] > 0
    silent = result["no_speech"]
    assert (silent["clips"], silent["seconds"]) == (6, 6.0)
    assert [row["kind"] for row in silent["by_kind"]] == ["silence", "hum", "music"]
    assert (run / "evaluation" / "held_out.noise.png").read_bytes().startswith(b"\x89PNG")


def test_the_texts_behind_the_figures_are_kept(whole):
    folder = whole[0] / "evaluation"
    quiet = pq.read_table(folder / "held_out.parquet").to_pylist()
    for name in ("white_10dB", "white_-2.5dB", "babble_10dB", "babble_-2.5dB"):
        rows = pq.read_table(folder / "noise" / "held_out" / f"{name}.parquet").to_pylist()
        assert [(r["id"], r["reference"]) for r in rows] == [
            (r["id"], r["reference"]) for r in quiet
        ]
    probes = pq.read_table(folder / "no_speech.parquet").to_pylist()
    assert [row["id"] for row in probes] == [
        *("silence-0", "hum-0", "music-0", "silence-1", "hum-1", "music-1")
    ]
    assert all(0 <= row["student_no_speech_prob"] <= 1 for row in probes)
    said = sum(bool(row["student"]) for row in probes)
    assert said >= whole[1]["no_speech"]["student"]["false_alarms"]


def test_models_hear_the_noise_at_its_level(run, config, monkeypatch):
    heard: dict[str, list] = {}

    def listening(session, model, title, share, clips):
        heard[title] = list(clips)
        return decoding.decode(session, model, title, share, heard[title])

    monkeypatch.setattr(comparison, "decode", listening)
    new = [*NOTHING, "evaluate.noise={snr_db: [3], talkers: 1}"]
    pipeline.evaluate(load_config(run, new))
    assert set(heard) == {"noise/held_out/white_3dB", "noise/held_out/babble_3dB"}
    for clips in heard.values():
        assert [clip.id for clip in clips] == ["0.wav", "1.wav", "2.wav"]
        for clip in clips:
            quiet = read_audio(config.parent / "test" / clip.id).astype(np.float64)
            powers = [np.mean(np.square(each)) for each in (quiet, clip.samples - quiet)]
            assert 10 * np.log10(powers[0] / powers[1]) == pytest.approx(3, abs=0.01)


def test_what_is_known_is_not_measured_again(run, whole, taken):
    assert pipeline.evaluate(load_config(run, ALL)) == whole[1]
    assert taken == []


def test_only_what_is_new_is_measured(run, whole, taken):
    more = "evaluate.noise={snr_db: [10, 0], kinds: [white], talkers: 2}"
    fewer = NO_SPEECH.replace("clips: 2", "clips: 1")
    found = pipeline.evaluate(load_config(run, [more, fewer, LATENCY]))
    title = "noise/held_out/white_0dB"
    assert taken == [f"{what} {role}" for what in (title, "no_speech") for role in ROLES]
    assert found["no_speech"]["clips"] == 3
    rows = found["sets"]["held_out"]["noise"]
    assert rows[0] == whole[1]["sets"]["held_out"]["noise"][0]
    assert [row["snr_db"] for row in rows] == [10, 0]


def test_what_a_kill_left_is_kept(run, whole, taken):
    """Each level is written when it is done."""
    folder = run / "evaluation" / "noise" / "held_out"
    (folder / "babble_-2.5dB.json").unlink()
    (run / "evaluation" / "summary.json").unlink()
    again = pipeline.evaluate(load_config(run, ALL))
    assert {title.rpartition(" ")[0] for title in taken} == {"noise/held_out/babble_-2.5dB"}
    assert again == whole[1]
    assert summary(run) == summary(whole[0])


def test_a_set_that_changed_is_heard_again(run, tmp_path, taken):
    folder = tmp_path / "mine"
    write_sounds(folder, [1.0], texts=True)
    loaded = load_config(run, [*NOTHING, f"data.evaluation.mine.path={folder}"])
    before = pipeline.evaluate(loaded)["sets"]["mine"]
    (folder / "0.txt").write_text("a text of other words")
    taken.clear()
    after = pipeline.evaluate(loaded)["sets"]["mine"]
    assert taken == [f"mine {role}" for role in ROLES]
    assert after["teacher"]["error_rate"] != before["teacher"]["error_rate"]
    taken.clear()
    assert pipeline.evaluate(loaded)["sets"]["mine"] == after
    assert taken == []


def test_what_is_no_longer_asked_for_goes_from_the_summary(run, plain, taken):
    assert pipeline.evaluate(load_config(run, NOTHING)) == plain[1]
    assert summary(run) == summary(plain[0])
    assert taken == []


def test_the_result_prints_and_the_page_shows_it(run, whole, capsys):
    print_result(whole[1], as_json=False)
    assert "sets.held_out.noise" in capsys.readouterr().out
    page = Path(pipeline.report(run)["report"]).read_text(encoding="utf-8")
    for words in ("held_out in noise", "Without speech", "s a clip", "Hallucination on held_out"):
        assert words in page


def test_a_set_of_several_languages(run, tmp_path):
    folder = tmp_path / "mixed"
    write_sounds(folder, [1.0] * 4, texts=False)
    rows = [
        {"audio": f"{n}.wav", "text": text, "language": code}
        for n, (code, text) in enumerate([("en", "the text"), ("de", "der Text"), ("de", "da")])
    ]
    rows.append({"audio": "3.wav", "text": "who knows"})  # of no named language
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = [*NOTHING, f"data.evaluation.mixed.path={folder}"]
    found = pipeline.evaluate(load_config(run, changes))["sets"]["mixed"]
    assert found["clips"] == 4
    assert {code: each["clips"] for code, each in found["by_language"].items()} == {
        "de": 2,
        "en": 1,
    }
    rates = [each["student"]["error_rate"] for each in found["by_language"].values()]
    assert found["macro_average"]["student"] == pytest.approx(np.mean(rates), abs=1e-3)


def test_long_recordings_are_heard_whole(run, config, tmp_path):
    """One set of them; one is heard in several windows, one in a single one."""
    sounds = tmp_path / "long"
    write_sounds(sounds, [2.0, 9.0], texts=True)
    (sounds / "0.wav").with_suffix(".txt").unlink()  # not counted in error rates
    asked = [f"data.long_form.talks={{path: {sounds}, language: en}}"]
    chunks = {"chunk_seconds": 3.0}
    asked_so = [*asked, f"evaluate.long_form={chunks}"]
    found = pipeline.evaluate(load_config(run, asked_so))["sets"]
    assert set(found) == {"held_out", "talks"}
    student = run / "evaluation" / "talks.parquet"
    rows = pq.read_table(student).to_pylist()
    assert [(row["id"], row["duration"]) for row in rows] == [("0.wav", 2.0), ("1.wav", 9.0)]
    alone = pipeline.transcribe(load_config(run), [sounds], "student", long_form=chunks)
    assert [row["text"] for row in alone["recordings"]] == [row["student"] for row in rows]
    errors = count_errors("the text", rows[1]["student"], "en")
    assert found["talks"]["student"]["error_rate"] == pytest.approx(errors.rate)
    assert found["talks"]["student"]["audio_seconds"] == 11.0

    def windows() -> int:
        rows = read_jsonl(run / "compute.jsonl")
        return [row["clips"] for row in rows if row["stage"] == "evaluate student"][-1]

    assert windows() == 1 + 4
    other = pipeline.evaluate(load_config(run, [*asked, "evaluate.long_form.chunk_seconds=30"]))
    assert other["sets"]["held_out"] == found["held_out"]
    assert windows() == 2


def test_voices_do_not_depend_on_the_order_of_the_set(config):
    session = Session(load_config(config))
    corpus = session.corpora("evaluation")["held_out"]
    turned = ListCorpus("held_out", list(corpus)[::-1])
    voices = [robustness._voices(session, each) for each in (corpus, turned)]
    assert sorted(clip.id for clip in voices[0]) == ["0.wav", "1.wav", "2.wav"]
    assert [clip.id for clip in voices[0]] == [clip.id for clip in voices[1]]


def test_a_babble_needs_others(run, tmp_path):
    write_sounds(tmp_path / "one", [1.0], texts=True)
    alone = [*NOTHING, f"data.evaluation.alone.path={tmp_path / 'one'}"]
    with pytest.raises(
        UserError, match=r"data.evaluation.alone has fewer than two.*kinds=\[white\]"
    ):
        pipeline.evaluate(load_config(run, [*alone, NOISE]))
    white = NOISE.replace("talkers", "kinds: [white], talkers")
    assert len(pipeline.evaluate(load_config(run, [*alone, white]))["sets"]["alone"]["noise"]) == 2


@pytest.mark.parametrize(
    "change,message",
    [
        ("evaluate.no_speech={seconds: 31}", r"evaluate.no_speech.seconds: got 31"),
        ("evaluate.no_speech={kinds: [song]}", r"evaluate.no_speech.kinds.0: got .song"),
        ("evaluate.noise={snr_db: [1, 1]}", r"evaluate.noise.snr_db.*each may be listed once"),
        ("evaluate.noise={snr_db: [.inf]}", r"evaluate.noise.snr_db.0"),
        ("evaluate.latency={batches: [0]}", r"evaluate.latency.batches.0: got 0"),
        ("data.evaluation.no_speech.path=x", r"evaluation.no_speech is the name of a file of ours"),
    ],
)
def test_mistaken_settings_are_told(change, message, config):
    with pytest.raises(ConfigError, match=message):
        load_config(config, [change])
