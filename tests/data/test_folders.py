"""Recordings in files: what is found, under which id, and that nothing is lost."""

import json
import logging
from pathlib import Path

import pytest

from distil_jax.data.audio import BadAudio, read_audio
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Corpus, SpeechConfig, Utterance, clips, open_corpus
from distil_jax.errors import UserError
from distil_jax.run import read_jsonl
from tests.made_up_sound import encoded, noise, tone


def opened(path: Path, **settings) -> Corpus:
    return open_corpus("made-up", SpeechConfig(path=str(path), **settings))


def folder(path: Path, *names: str) -> Path:
    """Files of these names; listing them does not read their audio."""
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"")
    return path


def manifest(path: Path, *lines: str | dict) -> Path:
    rows = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in lines]
    (path / "manifest.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    return path


def only(corpus: Corpus) -> Utterance:
    (utterance,) = corpus
    return utterance


def ids(corpus: Corpus) -> list[str]:
    return [utterance.id for utterance in corpus]


def test_a_manifest_in_its_own_order(tmp_path):
    whole = {"audio": "sub/b.wav", "text": "Grüße\u2028!", "language": "German", "speaker": "s1"}
    corpus = opened(manifest(tmp_path, whole, "", {"audio": "./a.wav", "other": 1}))
    b, a = corpus
    assert b == Utterance("sub/b.wav", tmp_path / "sub/b.wav", "Grüße\u2028!", "de", "s1")
    assert a == Utterance("a.wav", tmp_path / "a.wav")
    assert corpus.count == 2
    assert corpus.fetch("a.wav") == tmp_path / "a.wav"
    assert ids(opened(tmp_path / "manifest.jsonl")) == ["sub/b.wav", "a.wav"]


@pytest.mark.parametrize(
    "line,id,problem",
    [
        ("{audio: a.wav}", "manifest.jsonl line 2", "manifest.jsonl line 2 is not JSON"),
        ('{"audio": "a', "manifest.jsonl line 2", "is not JSON"),
        ("[" * 100_000, "manifest.jsonl line 2", "is not JSON"),
        ('["a.wav"]', "manifest.jsonl line 2", 'has no "audio" with a file name'),
        ({"text": "hi"}, "manifest.jsonl line 2", 'has no "audio" with a file name'),
        ({"audio": ""}, "manifest.jsonl line 2", 'has no "audio" with a file name'),
        ({"audio": 7}, "manifest.jsonl line 2", 'has no "audio" with a file name'),
        ({"audio": "a.wav", "text": 7}, "a.wav", "text is not a string"),
        ({"audio": "a.wav", "language": ["de"]}, "a.wav", "language is not a string"),
        ({"audio": "a.wav", "speaker": 3}, "a.wav", "speaker is not a string"),
        ({"audio": "../a.wav"}, "../a.wav", "its path leaves the folder"),
        ({"audio": "b/../../a.wav"}, "../a.wav", "its path leaves the folder"),
        ({"audio": "/etc/a.wav"}, "/etc/a.wav", "its path leaves the folder"),
        ({"audio": "x/../good.wav"}, "good.wav~2", "good.wav is listed more than once"),
    ],
)
def test_a_bad_line_is_named_and_stops_nothing(line, id, problem, tmp_path):
    good, bad, last = opened(manifest(tmp_path, {"audio": "good.wav"}, line, {"audio": "z.wav"}))
    assert (good.id, last.id) == ("good.wav", "z.wav")
    assert good.problem is last.problem is None
    assert bad.id == id
    assert bad.audio is None
    assert problem in (bad.problem or "")


def test_half_characters_and_other_encodings_can_be_written_again(tmp_path):
    (tmp_path / "manifest.jsonl").write_bytes(
        b'\xef\xbb\xbf{"audio": "a.wav", "text": "caf\xe9"}\n{"audio": "\\ud800.wav"}\n'
    )
    a, half = opened(tmp_path)
    assert (a.id, a.text) == ("a.wav", "caf\ufffd")
    assert half.id.encode() == b"\\ud800.wav"


def test_recordings_that_a_manifest_leaves_out_are_mentioned(tmp_path, caplog):
    folder(tmp_path, "a.wav", "left.wav", "right.wav")
    with caplog.at_level(logging.WARNING):
        assert ids(opened(manifest(tmp_path, {"audio": "a.wav"}))) == ["a.wav"]
    assert "2 recordings are not in manifest.jsonl and are left out" in caplog.text
    assert "left.wav" in caplog.text


def test_a_folder_of_audio_with_and_without_texts(tmp_path):
    folder(tmp_path, "b.flac", "sub/c.OPUS", "a.wav", "notes.md", "alone.txt", ".d.mp3")
    (tmp_path / "sub/c.txt").write_text("  Über uns\n", "utf-8-sig")
    (tmp_path / "dir.wav").mkdir()
    corpus = opened(tmp_path)
    texts = {utterance.id: utterance.text for utterance in corpus}
    assert texts == {".d.mp3": None, "a.wav": None, "b.flac": None, "sub/c.OPUS": "Über uns"}
    assert list(texts) == ids(corpus)
    assert corpus.fetch("sub/c.OPUS") == tmp_path / "sub/c.OPUS"
    with pytest.raises(UserError, match=r"made-up has no recording 'gone.wav' any more"):
        corpus.fetch("gone.wav")


def test_a_text_that_cannot_be_read_sets_its_recording_aside(tmp_path):
    folder(tmp_path, "a.wav")
    (tmp_path / "a.txt").mkdir()
    assert only(opened(tmp_path)).problem == "a.txt: Is a directory"


def test_a_single_recording(tmp_path):
    (folder(tmp_path, "a.wav", "b.wav") / "a.txt").write_text("hello")
    assert only(opened(tmp_path / "a.wav")) == Utterance("a.wav", tmp_path / "a.wav", "hello")


def test_nothing_there_is_said(tmp_path):
    folder(tmp_path, "readme.txt")
    with pytest.raises(UserError, match=r"holds neither manifest.jsonl nor audio \(.*\.wav"):
        opened(tmp_path)
    with pytest.raises(UserError, match="no file or folder at"):
        opened(tmp_path / "none")


@pytest.mark.parametrize("ending", ["m4a", "aac", "webm"])
def test_what_cannot_be_decoded_is_found_and_set_aside(ending, tmp_path):
    (tmp_path / f"a.{ending}").write_bytes(b"\0\0\0 ftypM4A mp42isom" * 20)
    found = only(opened(tmp_path))
    assert isinstance(found.audio, Path)
    with pytest.raises(BadAudio, match="not readable as audio"):
        read_audio(found.audio)


def test_the_language_of_the_config_is_for_those_that_name_none(tmp_path):
    manifest(tmp_path, {"audio": "a.wav"}, {"audio": "b.wav", "language": "fr-CA"})
    assert [u.language for u in opened(tmp_path, language="German")] == ["de", "fr"]
    assert [u.language for u in opened(tmp_path)] == [None, "fr"]
    with pytest.raises(UserError, match="'klingon' is none that Whisper knows"):
        opened(tmp_path, language="klingon")


def test_shares_divide_a_corpus_whatever_else_is_in_it(tmp_path):
    folder(tmp_path, *(f"{i}.wav" for i in range(200)))
    every, train = ids(opened(tmp_path)), ids(opened(tmp_path, share=(0, 0.8)))
    test = ids(opened(tmp_path, share=(0.8, 1)))
    assert sorted(train + test) == sorted(every)
    assert 140 < len(train) < 180
    assert ids(opened(tmp_path, share=(0, 0.8), limit=7)) == train[:7]
    (tmp_path / train[0]).unlink()
    assert ids(opened(tmp_path, share=(0, 0.8))) == train[1:]


def damaged(whole: bytes) -> dict[str, bytes]:
    holes = noise(0.5)
    holes[77] = float("nan")
    return {
        "empty.wav": b"",
        "page.mp3": b"<html>not found</html>" * 50,
        "no_samples.wav": encoded(noise(0)),
        "silent.flac": encoded(0 * noise(1), form="FLAC"),
        "short.wav": encoded(tone(0.05)),
        "nan.wav": encoded(holes, subtype="FLOAT"),
        "header_only.wav": whole[:40],
        "cut.ogg": encoded(noise(1), form="OGG", subtype="OPUS")[:2000],
        "other.m4a": b"\0\0\0 ftypM4A mp42isom" * 20,
        "rate.wav": whole[:24] + (50).to_bytes(4, "little") + whole[28:],
        "zeros.flac": bytes(5000),
        "text.opus": "kein Ton".encode("utf-16"),
        "long.wav": encoded(noise(31)),
    }


def test_every_utterance_is_a_clip_or_in_quarantine(tmp_path):
    data = tmp_path / "data"
    good = folder(data, *(f"good{i}.wav" for i in range(5)))
    whole = encoded(tone(0.5))
    bad = damaged(whole)
    for i in range(5):
        (good / f"good{i}.wav").write_bytes(whole)
    (data / "long_without_text.wav").write_bytes(bad["long.wav"])
    (data / "long.txt").write_text("half a minute and more")
    for name, content in bad.items():
        (data / name).write_bytes(content)
    (data / "a_dangling.wav").symlink_to(data / "nowhere.wav")

    quarantine = Quarantine(tmp_path / "quarantine.jsonl")
    kept = [clip.id for clip in clips("made-up", opened(data), quarantine)]
    longs = ["long_without_text.wav#0", "long_without_text.wav#1"]
    assert kept == [*(f"good{i}.wav" for i in range(5)), *longs]
    rows = read_jsonl(tmp_path / "quarantine.jsonl")
    assert [row["id"] for row in rows] == sorted({*bad, "a_dangling.wav"})
    assert all(row["corpus"] == "made-up" and row["reason"] for row in rows)

    again = Quarantine(tmp_path / "quarantine.jsonl")
    assert [clip.id for clip in clips("made-up", opened(data), again)] == kept
    assert read_jsonl(tmp_path / "quarantine.jsonl") == rows


def test_bad_lines_are_in_quarantine_beside_good_ones(tmp_path):
    (tmp_path / "a.wav").write_bytes(encoded(tone(0.5)))
    rows = ["{", {"audio": "a.wav"}, {"audio": "a.wav"}, {"audio": "missing.wav"}, {"audio": "."}]
    quarantine = Quarantine(None)
    corpus = opened(manifest(tmp_path, *rows, {"audio": "a\0b.wav"}, {"audio": "x" * 300}))
    assert [clip.id for clip in clips("made-up", corpus, quarantine)] == ["a.wav"]
    assert [row["reason"].partition(":")[0] for row in quarantine.rows] == [
        "manifest.jsonl line 1 is not JSON",
        "a.wav is listed more than once",
        "missing",
        "not a file",
        "missing",
        "not readable as audio",
    ]
    assert len({row["id"] for row in quarantine.rows}) == 6
