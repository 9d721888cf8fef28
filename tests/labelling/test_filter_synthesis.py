"""Labels said aloud: the program is asked safely, and the right words are nearer than others."""

import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from distil_jax.data.speech import Clip
from distil_jax.errors import UserError
from distil_jax.labelling.filters.synthesis import Synthesis, cepstra, distance, speak
from tests.labelling.made_up_labels import NO_MODELS

# A stand-in for espeak-ng: notes how it is called and what it reads, and says a tone.
PROGRAM = """\
#!{python}
import sys, time, wave
text = sys.stdin.buffer.read()
open({notes!r}, "ab").write(repr((sys.argv[1:], text.decode())).encode() + b"\\n")
if b"sleep" in text:
    time.sleep(60)
if sys.argv[2] == "xx":
    sys.exit("Error: The specified espeak-ng voice does not exist.")
if text.strip():
    with wave.open(sys.stdout.buffer, "wb") as out:
        out.setparams((1, 2, 22050, 0, "NONE", "NONE"))
        out.writeframes(bytes((i * len(text) // 7 % 256) for i in range(44100)))
"""


@pytest.fixture
def notes(tmp_path, monkeypatch) -> Path:
    """What the stand-in, the only program there is, writes down."""
    program = tmp_path / "bin" / "espeak-ng"
    program.parent.mkdir()
    found = tmp_path / "notes"
    program.write_text(PROGRAM.format(python=sys.executable, notes=str(found)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    return found


def clip(id: str, samples: np.ndarray, language: str | None = "en") -> Clip:
    return Clip(id, "corpus", id, 0.0, samples.astype(np.float32), None, language, None)


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, int(16_000 * seconds))


def measured(pairs: list[tuple[dict, Clip]], **settings) -> dict[str, float]:
    measure = Synthesis(**settings).measurer(NO_MODELS)
    return {row["id"]: row["synthesis_distance"] for row in measure(pairs)}


def plain_distance(a: np.ndarray, b: np.ndarray) -> float:
    cost = np.array([[np.linalg.norm(x - y) for y in b] for x in a])
    best = np.full((len(a) + 1, len(b) + 1), np.inf)
    best[0, 0] = 0.0
    for i, row in enumerate(cost, 1):
        for j, c in enumerate(row, 1):
            best[i, j] = min(best[i - 1, j] + c, best[i, j - 1] + c, best[i - 1, j - 1] + 2 * c)
    return best[-1, -1] / (len(a) + len(b))


@pytest.mark.parametrize("lengths", [(1, 1), (1, 5), (4, 1), (7, 12), (20, 9)])
def test_warping_is_that_of_a_plain_loop(lengths: tuple[int, int]):
    rng = np.random.default_rng(sum(lengths))
    a, b = (rng.normal(size=(length, 3)) for length in lengths)
    assert distance(a, b) == pytest.approx(plain_distance(a, b), rel=1e-12)
    assert distance(a, a) == pytest.approx(0.0, abs=1e-7)


def test_cepstra_do_not_depend_on_loudness():
    sound = noise(1.1) * np.sin(np.arange(17_600) / 900)
    found = cepstra(sound.astype(np.float32))
    assert found.shape == (27, 12)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(found.std(0), 1, atol=1e-9)
    np.testing.assert_allclose(cepstra((sound * 4).astype(np.float32)), found, atol=1e-2)


@pytest.mark.parametrize("text", ["$(touch x); `ls`", "--version", "-f /etc/passwd\n\n", "naïve é"])
def test_text_goes_in_as_it_is_and_nothing_in_it_is_a_command(notes: Path, text: str):
    said = speak(text, "en", 20)
    assert said is not None
    assert (said.dtype, said.shape) == (np.float32, (16_000,))
    options = ["-v", "en", "-b", "1", "--stdin", "--stdout"]
    assert notes.read_text() == repr((options, text)) + "\n"


def test_what_cannot_be_said_is_not_measured(notes: Path):
    sound = noise(2.0)
    pairs = [
        ({"label": "sleep", "language": "en"}, clip("slow", sound)),
        ({"label": "word", "language": "xx"}, clip("no voice", sound)),
        ({"label": "word", "language": None}, clip("no language", sound)),
        ({"label": "", "language": "en"}, clip("nothing", sound)),
        ({"label": "word", "language": "en"}, clip("said", sound)),
    ]
    assert measured(pairs[:1], timeout=0.5) == {}
    found = measured(pairs[1:])
    assert list(found) == ["said"]
    assert found["said"] > 0
    assert measured(pairs[2:3], voice="en-us").keys() == {"no language"}
    assert "['-v', 'en-us'," in notes.read_text().splitlines()[-1]


def test_a_program_that_is_not_there_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install espeak-ng"):
        Synthesis().check()
    with pytest.raises(UserError, match="apt-get install espeak-ng"):
        measured([])


@pytest.mark.parametrize("voice", ["-f", "en;ls", "", "../x"])
def test_a_voice_is_a_name(voice: str):
    with pytest.raises(ValueError, match="pattern"):
        Synthesis(voice=voice)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_the_words_that_were_said_are_nearest():
    texts = ["seven old red birds sang", "please leave a message", "the number is not in service"]
    said = [speak(text, "en-us", 20) for text in texts]
    pairs = [
        ({"label": text, "language": "en"}, clip(f"{n}{m}", sound))
        for n, sound in enumerate(said)
        for m, text in enumerate(texts)
        if sound is not None
    ]
    found = measured(pairs, voice="en-gb")
    assert len(found) == 9
    for n in range(3):
        assert min(range(3), key=lambda m: found[f"{n}{m}"]) == n
