"""Everything that `datasets` reads gives the same recordings, by order and by id."""

import shutil
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distil_jax.data.audio import read_audio
from distil_jax.data.corpora import is_hub_id
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Corpus, SpeechConfig, clips, open_corpus
from distil_jax.errors import UserError
from tests.made_up_sound import encoded, tone

SOUNDS = [encoded(tone(0.2, hertz=200 + 100 * i), form="FLAC") for i in range(6)]
FORMS = ["file.parquet", "file.arrow", "saved", "saved_dict", "parquet_folder", "split_folder"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def made_up(**columns: list) -> datasets.Dataset:
    rows = {
        "audio": [{"bytes": sound, "path": None} for sound in SOUNDS],
        "text": [f"text {i}" for i in range(len(SOUNDS))],
        "locale": ["en", "German", None, "pt-BR", "fr", "en"],
        "client": [7, 7, 8, 8, None, 9],
        **columns,
    }
    dataset = datasets.Dataset.from_dict(rows)
    return dataset.cast_column("audio", datasets.Audio(decode=False))


def parquet(path: Path, **columns: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made_up(**columns).to_parquet(path)
    return path


def written(folder: Path, form: str) -> Path:
    """The made-up dataset in one of the forms that it can lie on a disk."""
    path = folder / form
    match form:
        case "file.parquet":
            parquet(path)
        case "file.arrow":
            made_up().save_to_disk(folder / "for_arrow")
            shutil.copy(next((folder / "for_arrow").glob("*.arrow")), path)
        case "saved":
            made_up().save_to_disk(path)
        case "saved_dict":
            other = made_up().select([0])
            datasets.DatasetDict({"test": other, "train": made_up()}).save_to_disk(path)
        case "parquet_folder":
            parquet(path / "train-00000-of-00001.parquet")
        case "split_folder":
            parquet(path / "data" / "train-00000-of-00001.parquet")
            made_up().select([0]).to_parquet(path / "data" / "test-00000-of-00001.parquet")
    return path


def opened(path: Path | str, **settings) -> Corpus:
    return open_corpus("made-up", SpeechConfig(path=str(path), **settings))


@pytest.mark.parametrize("streaming", [False, True], ids=["", "streaming"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_utterances(form, streaming, tmp_path):
    columns = {"language_column": "locale", "speaker_column": "client", "language": "Spanish"}
    corpus = opened(written(tmp_path, form), streaming=streaming, **columns)
    utterances = list(corpus)
    assert [u.id for u in utterances] == [f"train-{i:08d}" for i in range(6)]
    assert [u.audio for u in utterances] == SOUNDS
    assert [u.text for u in utterances] == [f"text {i}" for i in range(6)]
    assert [u.language for u in utterances] == ["en", "de", "es", "pt", "fr", "en"]
    assert [u.speaker for u in utterances] == ["7", "7", "8", "8", None, "9"]
    assert [u.id for u in corpus] == [u.id for u in utterances], "a second pass"
    assert corpus.count == (None if streaming else 6)
    assert corpus.random_access is not streaming


@pytest.mark.parametrize("form", FORMS)
def test_fetching_by_id_gives_the_same_audio(form, tmp_path):
    corpus = opened(written(tmp_path, form), share=(0.1, 0.9))
    utterances = list(corpus)
    assert 0 < len(utterances) < 6
    for utterance in reversed(utterances):
        assert corpus.fetch(utterance.id) == utterance.audio


def test_audio_by_path_and_without_text(tmp_path):
    (tmp_path / "a.flac").write_bytes(SOUNDS[0])
    table = pa.table({"audio": [str(tmp_path / "a.flac"), None, str(tmp_path / "none.flac")]})
    pq.write_table(table, tmp_path / "paths.parquet")
    corpus = opened(tmp_path / "paths.parquet")
    quarantine = Quarantine(None)
    (clip,) = clips("made-up", corpus, quarantine)
    assert clip.text is None
    np.testing.assert_array_equal(clip.samples, read_audio(SOUNDS[0]))
    assert corpus.fetch(clip.utterance) == tmp_path / "a.flac"
    assert [(row["id"], row["reason"]) for row in quarantine.rows] == [
        ("train-00000001", "missing: no audio"),
        ("train-00000002", "missing: no such file"),
    ]
    with pytest.raises(UserError, match="made-up has no recording 'train-00000001' any more"):
        corpus.fetch("train-00000001")


def test_raw_bytes_and_other_column_names(tmp_path):
    pq.write_table(pa.table({"sound": SOUNDS, "said": ["x"] * 6}), tmp_path / "raw.parquet")
    corpus = opened(tmp_path / "raw.parquet", audio_column="sound", text_column="said")
    assert [(u.audio, u.text) for u in corpus] == [(sound, "x") for sound in SOUNDS]


def test_text_that_is_no_text_is_set_aside(tmp_path):
    corpus = opened(parquet(tmp_path / "a.parquet", text=[3, None, 4, 5, 6, 7]))
    assert [u.problem for u in corpus][:2] == ["its text is not text: 3", None]


def test_bad_audio_is_set_aside_and_the_rest_kept(tmp_path):
    audio = [{"bytes": bad, "path": None} for bad in (b"", b"junk" * 99, None, *SOUNDS[3:])]
    quarantine = Quarantine(None)
    corpus = opened(parquet(tmp_path / "a.parquet", audio=audio))
    assert [clip.text for clip in clips("made-up", corpus, quarantine)] == [
        "text 3",
        "text 4",
        "text 5",
    ]
    assert [row["id"] for row in quarantine.rows] == [f"train-{i:08d}" for i in range(3)]


@pytest.mark.parametrize("streaming", [False, True], ids=["", "streaming"])
def test_share_and_limit(streaming, tmp_path):
    path = written(tmp_path, "file.parquet")

    def ids(**settings) -> list[str]:
        return [u.id for u in opened(path, streaming=streaming, **settings)]

    train, test = ids(share=(0, 0.5)), ids(share=(0.5, 1))
    assert sorted(train + test) == ids()
    assert ids(share=(0, 0.5), limit=1) == train[:1]
    assert ids(limit=4) == ids()[:4]
    assert opened(path, streaming=streaming, limit=4).count == (None if streaming else 4)


def test_another_split(tmp_path):
    for form in ("saved_dict", "split_folder"):
        assert [u.id for u in opened(written(tmp_path, form), split="test")] == ["test-00000000"]


@pytest.mark.parametrize("streaming", [False, True], ids=["", "streaming"])
@pytest.mark.parametrize(
    "form,settings,said",
    [
        (
            "file.parquet",
            {"audio_column": "sound"},
            r"no column 'sound'; it has audio, text, locale, client",
        ),
        ("saved", {"text_column": "said"}, "no column 'said'"),
        ("file.arrow", {"language_column": "lang"}, "no column 'lang'"),
        ("saved_dict", {"split": "dev"}, "no split 'dev'; it has test, train"),
        ("split_folder", {"split": "dev"}, "dev"),
        ("file.parquet", {"audio_column": "client"}, "column 'client' holds no audio"),
    ],
)
def test_what_is_not_there_is_said(form, settings, said, streaming, tmp_path):
    path = written(tmp_path, form)
    with pytest.raises(UserError, match=said) as caught:
        list(opened(path, streaming=streaming, **settings))
    assert str(path) in str(caught.value)
    assert caught.value.key in (*settings, "path")


@pytest.mark.parametrize("streaming", [False, True], ids=["", "streaming"])
@pytest.mark.parametrize("left", [0, 4, 2_000])
def test_a_broken_parquet_file_is_said(left, streaming, tmp_path):
    path = parquet(tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(UserError, match=r"a\.parquet") as caught:
        list(opened(path, streaming=streaming))
    assert "\n" not in str(caught.value)


def test_a_stream_that_breaks_off_is_said(tmp_path):
    path = parquet(tmp_path / "a.parquet")
    corpus = opened(path, streaming=True)
    path.write_bytes(path.read_bytes()[:2_000])
    with pytest.raises(UserError, match=r"made-up: .*a\.parquet broke off"):
        list(corpus)


def test_what_is_on_the_disk_is_not_looked_up_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("owner/name")
    Path("owner/name").mkdir(parents=True)
    assert not is_hub_id("owner/name")
    for path in ("./owner/other", "/owner", "~/a/b", "package:a/b", "name", "a/b/c", "a/b.parquet"):
        assert not is_hub_id(path)


def test_an_unreachable_hub_is_said(monkeypatch):
    def unreachable(*args, **settings):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(
        UserError, match=r"owner/name: it is not on this disk, and on the hub .* no route"
    ):
        opened("owner/name")
