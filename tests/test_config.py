"""Reading configs: what is accepted, what is refused, and the words in which it is refused."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, field_validator

from distil_jax.config import RunConfig, load_config
from distil_jax.config_file import at_key, dump_config, read_config_file
from distil_jax.errors import ConfigError, UserError
from distil_jax.ladder_config import LadderConfig
from distil_jax.settings import Settings

REPOSITORY = Path(__file__).parent.parent
CONFIGS = sorted(REPOSITORY.glob("configs/*.yaml"))
LADDERS = [path for path in CONFIGS if path.stem.startswith("scaling_ladder")]
RUNS = [path for path in CONFIGS if path not in LADDERS]


class Corpus(Settings):
    path: str
    language: str | None = None

    @field_validator("path")
    @classmethod
    def _not_empty(cls, path: str) -> str:
        if not path:
            raise ValueError("expected a folder")
        return path


class Word(Settings):
    name: Literal["word"]
    weight: float = 1.0


class Divergence(Settings):
    name: Literal["divergence"]
    temperature: float = Field(default=2.0, gt=0)


class Train(Settings):
    steps: int = Field(default=100, gt=0)
    learning_rate: float = 1e-4
    dtype: Literal["float32", "bfloat16"] = "float32"
    shape: tuple[int, int] = (1, 1)
    save: bool = True


class Whole(Settings):
    name: str
    weights: str | list[str] = "here"
    data: dict[Annotated[str, Field(pattern="^[a-z]+$")], Corpus] = {}
    train: Train = Train()
    limit: float | None = None
    objectives: list[Annotated[Word | Divergence, Field(discriminator="name")]] = []
    sets: dict[str, Corpus] = Field(default={"a": Corpus(path="a")}, min_length=1)


def read(tmp_path: Path, text: str, *overrides: str) -> Whole:
    path = tmp_path / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return read_config_file(Whole, path, overrides)


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, *overrides)
    return str(caught.value)


def test_values_arrive_with_their_types(tmp_path: Path):
    whole = read(
        tmp_path,
        "name: x\nweights: [a, b]\nlimit: .inf\n"
        "data: {mine: {path: clips, language: no}}\n"
        "train: {learning_rate: 1e-4, shape: [2, 3]}\nobjectives: [{name: word, weight: 2}]\n",
    )
    assert whole.train.learning_rate == 1e-4
    assert whole.train.shape == (2, 3)
    assert whole.limit == float("inf")
    assert whole.weights == ["a", "b"]
    assert whole.data["mine"].language == "no"  # Norwegian, which YAML 1.1 reads as false
    assert whole.objectives == [Word(name="word", weight=2.0)]


def test_overrides_are_laid_over_the_file(tmp_path: Path):
    whole = read(
        tmp_path,
        "name: x\nobjectives: [{name: word}]\nlimit: 3\n",
        "train.steps=200",
        "data.mine.path=clips",
        "objectives.0.weight=0.5",
        "weights=[a, 'b c']",
        "limit=null",
        "name=a=b",
    )
    assert whole.train.steps == 200
    assert whole.data == {"mine": Corpus(path="clips")}
    assert whole.objectives == [Word(name="word", weight=0.5)]
    assert whole.weights == ["a", "b c"]
    assert whole.limit is None
    assert whole.name == "a=b"


def test_what_an_alias_repeats_is_changed_by_itself(tmp_path: Path):
    text = "name: x\ndata: {mine: &it {path: clips}, yours: *it}\n"
    whole = read(tmp_path, text, "data.mine.path=others")
    assert whole.data == {"mine": Corpus(path="others"), "yours": Corpus(path="clips")}


@pytest.mark.parametrize("text", ["name: \a", "name: !!set {a}", "name: !!binary aGk="])
def test_what_no_config_may_hold_is_refused(tmp_path: Path, text):
    assert "cannot be read as YAML" in refusal(tmp_path, text)


MISTAKEN = """\
nmae: x
weights: 5
limit: x
limit: y
data: {mine: {path: ''}, yours: 3}
train: {stepz: 3, learning_rate: fast, dtype: float16, save: 1, shape: [1]}
objectives: [{name: divergence, temperature: 0}, {name: wrod}, {weight: 1}, {name: word, x: 1}]
"""
REFUSED = """\
  limit: given twice (lines 3 and 4); keep one
  train.stepz.x: train.stepz is 3, not a section that could hold 'x'
  objectives.9: objectives is a list; got '9', expected an index (0 to 3)
  train: not an override; expected dotted.key=value
  name: missing; expected text
  weights: got 5 (a whole number), expected text or a list
  data.mine.path: got "" (text); expected a folder
  data.yours: got 3 (a whole number), expected a section with the keys path, language
  train.learning_rate: got "fast" (text), expected a number
  train.dtype: got "float16" (text), expected 'float32' or 'bfloat16'
  train.shape.1: missing; expected a whole number
  train.save: got 1 (a whole number), expected true or false
  train.stepz: unknown key; did you mean 'steps'? Allowed here: \
dtype, learning_rate, save, shape, steps
  limit: got "y" (text), expected a number
  objectives.0.temperature: got 0 (a whole number), expected greater than 0
  objectives.1: got {"name": "wrod"} (a section), expected 'name' to be one of 'word', 'divergence'
  objectives.2: got {"weight": 1} (a section), expected the key 'name' in it
  objectives.3.x: unknown key; Allowed here: name, weight
  nmae: unknown key; did you mean 'name'? Allowed here: \
data, limit, name, objectives, sets, train, weights
"""


def test_every_mistake_of_a_file_is_in_one_message(tmp_path: Path):
    message = refusal(tmp_path, MISTAKEN, "train.stepz.x=1", "objectives.9.x=3", "train")
    first, rest = message.split("\n", maxsplit=1)
    assert first == f"19 mistakes in {tmp_path / 'some.yaml'}:"
    assert rest + "\n" == REFUSED


@pytest.mark.parametrize(
    "text, expected",
    [
        ("name: [", "line 1, column 8"),
        ("", "holds no sections"),
        ("- a", "holds no sections"),
        ("name: !!python/name:os.system x", "could not determine a constructor"),
        ("{[1]: 2}", "a key must be plain text"),
        ("a: &a [*a]", "refers to itself"),
    ],
)
def test_what_is_no_config_is_refused(tmp_path: Path, text: str, expected: str):
    assert expected in refusal(tmp_path, text)


def test_a_number_is_never_read_out_of_text(tmp_path: Path):
    message = refusal(tmp_path, "name: x\ntrain: {steps: '200', shape: [true, 1]}\n")
    assert 'train.steps: got "200" (text), expected a whole number' in message
    assert "train.shape.0: got true (true/false), expected a whole number" in message


def test_too_few_and_wrong_names(tmp_path: Path):
    message = refusal(tmp_path, "name: x\nsets: {}\ndata: {My Set: {path: x}}\n")
    assert message.splitlines()[1:] == [
        '  data.My Set: got "My Set" (text), expected text like ^[a-z]+$',
        "  sets: got {} (a section), expected at least 1 of them",
    ]
    message = refusal(tmp_path, "name: x\nsets: {a: 3}\n")
    assert message.splitlines()[1:] == [
        "  sets.a: got 3 (a whole number), expected a section with the keys path, language"
    ]


def test_a_missing_file_names_its_neighbours(tmp_path: Path):
    (tmp_path / "quickstart.yaml").write_text("name: x\n")
    with pytest.raises(ConfigError, match=r"quickstar\.yaml.*did you mean 'quickstart\.yaml'"):
        read_config_file(Whole, tmp_path / "quickstar.yaml")
    with pytest.raises(ConfigError, match="not the folder of a run"):
        read_config_file(Whole, tmp_path)


def test_a_run_folder_stands_for_its_config(tmp_path: Path):
    whole = read(tmp_path, "name: x\n", "train.steps=7")
    (tmp_path / "config.yaml").write_text(dump_config(whole))
    assert read_config_file(Whole, tmp_path) == whole


@pytest.mark.parametrize("text", ["1e-4", "no", "true", "~", "", "010", "1:30", "a: b", "é\n#x"])
@pytest.mark.parametrize("number", [1e-5, float("inf"), 1 / 3, 1e22])
def test_what_is_written_reads_back_equal(tmp_path: Path, text: str, number: float):
    whole = Whole(
        name=text,
        weights=[text, "b"],
        data={"mine": Corpus(path="x", language=text)},
        limit=number,
        train=Train(shape=(3, 4)),
        objectives=[Divergence(name="divergence", temperature=number)],
    )
    (tmp_path / "config.yaml").write_text(dump_config(whole), encoding="utf-8")
    assert read_config_file(Whole, tmp_path) == whole


@pytest.mark.parametrize("kind", [UserError, ConfigError])
def test_an_error_names_the_key_it_is_about(kind: type[UserError]):
    with (
        pytest.raises(kind, match=r"^data\.train\.mine: no folder at x$"),
        at_key("data.train.mine"),
    ):
        raise kind("no folder at x")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_are_what_their_golden_files_say(path: Path):
    """Every value, defaults too: a changed hyper-parameter shows in review.

    UPDATE_GOLDEN=1 writes the files anew.
    """
    golden = REPOSITORY / "tests" / "golden" / path.name
    kind = LadderConfig if path in LADDERS else RunConfig
    config = read_config_file(kind, path)
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(dump_config(config), encoding="utf-8")
    assert dump_config(config) == golden.read_text(encoding="utf-8")
    assert read_config_file(kind, golden) == config


def test_no_golden_file_is_left_of_a_config_that_went():
    goldens = {path.name for path in REPOSITORY.glob("tests/golden/*.yaml")}
    assert goldens <= {path.name for path in CONFIGS}


def test_an_objective_stands_in_a_recipe_once():
    with pytest.raises(ConfigError, match=r"objectives: got .*kl stands there twice"):
        load_config(RUNS[0], ["objectives.0.name=kl"])


def test_a_format_of_the_export_is_listed_once():
    with pytest.raises(ConfigError, match=r"export.formats: got .*a format stands there twice"):
        load_config(RUNS[0], ["export.formats=[ggml, ggml]"])


def test_a_run_has_one_student_or_several_with_names():
    one = load_config(RUNS[0])
    assert one.named_students == {"student": one.student}
    changes = ["student=null", "students={small: {decoder_layers: 1}, large: {decoder_layers: 4}}"]
    several = load_config(RUNS[0], changes)
    assert {n: s.decoder_layers for n, s in several.named_students.items()} == {
        "small": 1,
        "large": 4,
    }


@pytest.mark.parametrize(
    "changes,message",
    [
        (["student=null"], r"got no student; expected either `student: "),
        (["students.small.decoder_layers=1"], r"got both `student` and `students`"),
        (["student=null", "students={student: {}}"], r"students.student: that is what one without"),
        (["student=null", "students={a b: {}}"], r"students.a b: got \"a b\" \(text\), expected"),
        (["student=null", "students={small: {layers: 2}}"], r"students.small.layers: unknown key"),
    ],
)
def test_mistaken_students_are_told(changes, message):
    with pytest.raises(ConfigError, match=message):
        load_config(RUNS[0], changes)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_a_mistaken_run_is_told_all_its_mistakes(path: Path):
    """Through the command line: no traceback, exit 2, each mistake by its key's full path."""
    wrong = {
        "train.stepz=3": "train.stepz: unknown key; did you mean 'steps'?",
        "train.steps=many": 'train.steps: got "many" (text), expected a whole number',
        "student=7": "student: got 7 (a whole number), expected a section with the keys ",
        "mesh.strategy=magic": 'mesh.strategy: got "magic" (text), expected ',
        "teacher={}": "teacher.weights: missing; expected text or a list",
    }
    whole = [sys.executable, "-m", "distil_jax", "run", str(path), *wrong]
    done = subprocess.run(whole, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for words in wrong.values():
        assert words in done.stderr
