"""Names of the files of transcripts, and options that do not go together."""

from pathlib import Path

import pytest

from distil_jax.data.folders import listed
from distil_jax.data.speech import SpeechConfig, Utterance
from distil_jax.errors import ConfigError, UserError
from distil_jax.labelling.settings import DecodeConfig
from distil_jax.longform.transcript import Recording, Segment, Transcript
from distil_jax.pipeline.outputs import Outputs
from distil_jax.pipeline.transcribe_options import TranscribeOptions


def transcript(corpus: str, id: str) -> Transcript:
    return Transcript(Recording(corpus, id, b""), 1.0, "en", [Segment(0.0, 1.0, f" {id}", [1])])


def names(tmp_path: Path, *corpora: list[str]) -> list[str]:
    """Of the files of these ids, in order, below the folder."""
    outputs = Outputs(tmp_path / "out", ("txt",))
    for number, ids in enumerate(corpora):
        outputs.name(str(number), [Utterance(id, b"") for id in ids])
    paths = [
        outputs.write(transcript(str(number), id))[0]
        for number, ids in enumerate(corpora)
        for id in ids
    ]
    said = [Path(path).read_text() for path in paths]
    assert said == [f"{' '.join(id.split())}\n" for ids in corpora for id in ids]
    return [Path(path).relative_to(tmp_path / "out").as_posix() for path in paths]


def test_files_are_named_after_their_recordings(tmp_path):
    assert names(tmp_path, ["talk.mp3", "day 1/talk.mp3", "a.b.flac"]) == [
        "talk.txt",
        "day 1/talk.txt",
        "a.b.txt",
    ]


def test_no_two_recordings_share_a_file(tmp_path):
    """Not where only the ending or the folder differs, nor where only large and small letters."""
    found = names(tmp_path, ["a.wav", "a.mp3", "A.flac", "a-2.wav"], ["a.wav"], ["b.wav"])
    assert found == ["a.txt", "a-2.txt", "A-3.txt", "a-2-2.txt", "a-4.txt", "b.txt"]


@pytest.mark.parametrize(
    "id", ["../up.wav", "/etc/passwd", "..", "a/../../b.wav", "a\x00b.wav", "ä" * 120 + ".wav", ""]
)
def test_no_name_leaves_the_folder(tmp_path, id):
    outputs = Outputs(tmp_path / "out", ("txt", "json"))
    outputs.name("a", [Utterance(id, b"")])
    for path in outputs.write(transcript("a", id)):
        assert (tmp_path / "out").resolve() in Path(path).resolve().parents
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_cannot_be_is_told_before_the_work(tmp_path):
    (tmp_path / "a.txt").write_text("no folder")
    with pytest.raises(UserError, match=r"a.txt.b: expected a folder to write to: Not a direc"):
        Outputs(tmp_path / "a.txt" / "b", ("txt",)).prepare()
    Outputs(tmp_path / "new" / "one", ("txt",)).prepare()
    assert list((tmp_path / "new" / "one").iterdir()) == []


def test_a_transcript_beside_its_recording_is_spared(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "a.txt").write_text("the transcript")
    found = list(listed(tmp_path, SpeechConfig(path=str(tmp_path))))
    with pytest.raises(UserError, match=r"a\.txt lies beside its recording.*Give another folder"):
        Outputs(tmp_path, ("txt",)).name("a", found)
    Outputs(tmp_path, ("srt",)).name("a", found)
    Outputs(tmp_path / "out", ("txt",)).name("a", found)


@pytest.mark.parametrize(
    "options,message",
    [
        ({"formats": ["doc"], "output": Path("o")}, "--format doc: expected some of txt, srt, vtt"),
        ({"formats": ["srt"]}, "--format srt: give --output DIR"),
        (
            {"formats": ["vtt"], "output": Path("o"), "timestamps": False},
            "--no-timestamps: vtt is made of times",
        ),
        (
            {"formats": ["srt"], "output": Path("o"), "words": True},
            "--words: of the formats json alone holds them",
        ),
        (
            {"long_form": {"chunk_seconds": 40.0}},
            "chunk_seconds: got 40.0 .*, expected less than or equal to 30",
        ),
        (
            {"long_form": {"algorithm": "sequential", "chunk_seconds": 25.0}},
            "long form: chunk_seconds 25: windows of the sequential algorithm are 30 s long",
        ),
        (
            {"long_form": {"algorithm": "sequential"}, "timestamps": False},
            "--no-timestamps: --long-form sequential finds its way by them",
        ),
        (
            {"long_form": {"condition_on_previous": False}},
            "condition_on_previous false: windows of the chunked algorithm .* take the sequential",
        ),
        ({"output": Path(__file__)}, "expected a folder, got a file"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TranscribeOptions.of(**options)


def test_words_of_a_translation_are_refused():
    options = TranscribeOptions.of(words=True)
    assert options.decoding(DecodeConfig()).timestamps
    with pytest.raises(ConfigError, match=r"they are timed with evaluate\.task=transcribe alone"):
        options.decoding(DecodeConfig(task="translate"))
