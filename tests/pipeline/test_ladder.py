"""A whole ladder of tiny language models: made, killed, extended, read by the fit."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from distil_jax.cli import app
from distil_jax.config_file import read_config_file
from distil_jax.errors import ConfigError, UserError
from distil_jax.ladder_config import LadderConfig
from distil_jax.mesh import make_mesh
from distil_jax.models.language_model import shapes
from distil_jax.pipeline import ladder, ladder_rows
from distil_jax.scaling.fitting.reading import read_tables
from distil_jax.yaml_io import dump_yaml

pytestmark = pytest.mark.xdist_group("ladder")
CONTEXT, BATCH = 8, 8
STEP = CONTEXT * BATCH


def some_text(characters: int) -> str:
    """Words of which each tells something of the next."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), 4)) for _ in range(40)]
    following = rng.integers(0, 40, (40, 2))
    place, said = 0, []
    while sum(map(len, said)) < characters:
        said.append(" ".join(words[place := int(rng.choice(following[place]))] for _ in range(9)))
    return "\n".join(said)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "some.txt"
    path.write_text(some_text(60_000), encoding="utf-8")
    return path


def config_of(text: Path, folder: Path, **changes: Any) -> LadderConfig:
    values = {
        "name": "tiny",
        "run_dir": str(folder),
        "text": [str(text)],
        "models": {"aspect": 8, "head_width": 4, "context": CONTEXT, "vocabulary": 300},
        "alone": [{"layers": [1, 2], "tokens": [10 * STEP, 20 * STEP]}],
        "taught": [{"layers": [1], "tokens": [10 * STEP], "teachers": ["1l-1.28k", "2l-640"]}],
        "train": {"batch_size": BATCH, "base_width": 16, "save_every": 4},
        **changes,
    }
    return LadderConfig.model_validate(values)


@pytest.fixture(scope="module")
def made(text, tmp_path_factory) -> tuple[LadderConfig, dict[str, Any]]:
    config = config_of(text, tmp_path_factory.mktemp("ladder"))
    return config, ladder.climb(config)


def rows(config: LadderConfig) -> dict[str, dict[str, Any]]:
    table = pyarrow.parquet.read_table(config.folder / "runs.parquet").to_pylist()
    return {row["run_id"]: row for row in table}


@pytest.mark.slow
def test_every_run_leaves_weights_and_a_row(made):
    config, result = made
    found = rows(config)
    assert result["runs"] == len(found) == 6
    assert Path(result["chart"]).read_bytes().startswith(b"\x89PNG")
    planned = ladder.planned(config)
    assert (planned["runs"], {each["made"] for each in planned["groups"]}) == (6, {True})
    assert list(found) == [rung.name for rung in config.rungs]
    taught, teacher = found["1l-640-of-2l-640"], found["2l-640"]
    assert (taught["D"], taught["steps"]) == (640, 10)
    assert (taught["teacher"], taught["teacher_loss"]) == ("2l-640", teacher["loss"])
    assert (taught["teacher_N"], taught["teacher_D"]) == (teacher["N"], teacher["D"])
    assert taught["kl_to_teacher"] > 0
    assert taught["flops_teacher"] == pytest.approx(teacher["flops"] / 3)
    assert all(0 < row["loss"] < np.log(300) for row in found.values())
    assert found["1l-1.28k"]["loss"] < found["1l-640"]["loss"]
    assert all(0 < row["ece"] < 0.5 for row in found.values())
    told = ("lambda", "kl_weight", "cross_entropy_weight", "temperature", "logit_source")
    assert [taught[name] for name in told] == [1, 1, 0, 1, "online"]
    assert [teacher[name] for name in told] == [0, 0, 1, None, None]
    assert {row["text"] for row in found.values()} == {ladder.Ladder(config).text.text_id}
    for name in found:
        folder = config.folder / "runs" / name
        assert json.loads((folder / "config.json").read_text())["model_type"] == "qwen3"
        assert (folder / "metrics.jsonl").exists()
    assert not list((config.folder / "groups").iterdir())


def test_lengths_follow_from_the_models(text, tmp_path):
    """The paper's designs: fixed ratios, and equal compute."""
    alone = [{"layers": [1, 2], "ratios": [20.0]}, {"layers": [1, 2], "compute": [2e9]}]
    config = config_of(text, tmp_path, alone=alone, taught=[])
    first, second, *equal = config.rungs
    for rung in (first, second):
        size = sum(
            math.prod(shape)
            for path, shape in shapes(config.models.of(rung.layers)).items()
            if path[0] not in ("embedding", "head")
        )
        assert rung.tokens == pytest.approx(20 * size, rel=5e-3)
    whole = ladder.Ladder(config)
    assert [whole.flops((rung,)) for rung in equal] == pytest.approx([2e9, 2e9], rel=0.02)
    told = ladder.planned(config)
    assert [each["runs"] for each in told["groups"]] == [rung.name for rung in config.rungs]
    assert told["flops"] == sum(each["flops"] for each in told["groups"])
    assert not any(each["made"] for each in told["groups"])


@pytest.mark.slow
def test_the_weights_are_those_that_were_measured(made):
    """In PyTorch, as a Qwen3."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config, _ = made
    model = transformers.AutoModelForCausalLM.from_pretrained(config.folder / "runs/2l-1.28k")
    windows = ladder.Ladder(config).windows("validation")
    total = count = 0
    for batch in windows.once():
        tokens = torch.tensor(batch).long()
        with torch.no_grad():
            logits = model(tokens[:, :-1]).logits
        losses = torch.nn.functional.cross_entropy(logits.mT, tokens[:, 1:], reduction="none")
        total, count = total + losses.sum().item(), count + losses.numel()
    row = rows(config)["2l-1.28k"]
    assert count == row["eval_tokens"]
    assert total / count == pytest.approx(row["loss"], abs=1e-4)


@pytest.mark.slow
def test_the_fit_reads_a_ladder(made):
    config, _ = made
    table = read_tables([config.folder], {})
    assert len(table.rows) == 6
    assert np.isfinite(table.numbers["teacher_loss"]).sum() == 2


@pytest.mark.slow
def test_a_run_alone_is_as_it_is_beside_others(made, text, tmp_path, monkeypatch):
    """And on one device as on eight: a program of one student is that of several."""
    config, _ = made
    monkeypatch.setattr(ladder, "make_mesh", partial(make_mesh, devices=jax.devices()[:1]))
    alone = config_of(text, tmp_path, train={**config.train.model_dump(), "side_by_side": 1})
    ladder.climb(alone)
    for name, row in rows(config).items():
        assert rows(alone)[name]["loss"] == pytest.approx(row["loss"], abs=1e-5)


@pytest.mark.slow
def test_a_killed_ladder_ends_in_the_same_bits(made, text, tmp_path, monkeypatch):
    config, _ = made
    again = config_of(text, tmp_path)
    step, left = ladder.LanguageModelling.step, iter(range(26))

    def until_killed(self, *arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return step(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(ladder.LanguageModelling, "step", until_killed)
        with pytest.raises(KeyboardInterrupt):
            ladder.climb(again)
    done = [path.parent.name for path in tmp_path.glob("runs/*/run.json")]
    assert done == ["1l-640"]
    ladder.climb(again)
    for rung in config.rungs:
        ours, theirs = (
            (each.folder / "runs" / rung.name / "model.safetensors").read_bytes()
            for each in (config, again)
        )
        assert ours == theirs, rung.name


@pytest.mark.slow
def test_a_ladder_may_grow_but_not_change(made, text):
    config, _ = made
    path = config.folder / "runs/1l-640/model.safetensors"
    before = path.stat().st_mtime_ns
    grids = [grid.model_dump() for grid in config.alone]
    # One more of a length of its own, and one that goes side by side with what is there.
    new = (
        {"layers": [1], "tokens": [5 * STEP]},
        {"layers": [1], "tokens": [10 * STEP], "seeds": [1]},
    )
    more = config_of(text, config.folder, alone=[*grids, *new])
    assert ladder.climb(more)["runs"] == 8
    assert path.stat().st_mtime_ns == before
    kept = (config.folder / "config.yaml").read_bytes()
    with pytest.raises(UserError, match="made with other settings or of another text"):
        ladder.climb(config_of(text, config.folder, seed=1))
    assert (config.folder / "config.yaml").read_bytes() == kept


def test_rows_of_an_older_schema_stay(text, tmp_path, monkeypatch):
    """What they do not say is null; and where the devices' peak is known, so is its used share."""
    grid = {"layers": [1], "tokens": [STEP]}
    small = config_of(text, tmp_path, alone=[grid], taught=[])
    ladder.climb(small)
    [row] = rows(small).values()
    assert (row["schema_version"], row["mfu"]) == (2, None)
    assert row["group_wall_seconds"] >= row["group_step_seconds"] + row["group_compile_seconds"]
    old = {name: row[name] for name in row if name not in ("ece", "mfu", "lambda", "commit")}
    path = tmp_path / "runs/1l-64/run.json"
    path.write_text(json.dumps({**old, "schema_version": 1}), encoding="utf-8")

    monkeypatch.setattr(ladder_rows, "peak_of", lambda devices: 1e9 * len(devices))
    more = config_of(text, tmp_path, alone=[{**grid, "seeds": [0, 1]}], taught=[])
    ladder.climb(more)
    before, after = rows(more)["1l-64"], rows(more)["1l-64-s1"]
    assert list(before) == list(row)
    assert before == {**row, "ece": None, "mfu": None, "lambda": None, "commit": None} | {
        "schema_version": 1
    }
    assert after["schema_version"] == 2
    assert after["mfu"] == pytest.approx(after["flops"] / after["group_step_seconds"] / 8e9)


@pytest.mark.parametrize(
    "changes,told",
    [
        (
            {"taught": [{"layers": [1], "tokens": [9], "teachers": ["3l-9"]}]},
            "got 3l-9; `alone` has",
        ),
        ({"alone": [{"layers": [1, 1], "tokens": [9]}], "taught": []}, "1l-9 stands there twice"),
        ({"alone": [{"layers": [1], "tokens": [0]}], "taught": []}, "tokens: got 0, expected more"),
        ({"alone": [{"layers": [1]}], "taught": []}, "got none of tokens, ratios and compute"),
        (
            {"alone": [{"layers": [1], "tokens": [9], "ratios": [20]}], "taught": []},
            "got tokens and ratios of tokens, ratios and compute; expected one",
        ),
        ({"models": {"vocabulary": 9}}, "256"),
        (
            {"train": {"batch_size": 8, "accumulation": 3}},
            "batch_size 8 is not a multiple of accumulation 3",
        ),
        ({"models": {"aspect": 6, "head_width": 4}}, "aspect 6 is no multiple of head_width 4"),
    ],
)
def test_mistakes_in_a_ladder_are_told(text, tmp_path, changes, told):
    path = tmp_path / "ladder.yaml"
    good = config_of(text, tmp_path).model_dump(mode="json", exclude_unset=True)
    path.write_text(dump_yaml({**good, **changes}), encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        read_config_file(LadderConfig, path)


def test_a_text_that_is_too_short_is_told_before_the_work(text, tmp_path):
    models = {"aspect": 8, "head_width": 4, "context": 100_000, "vocabulary": 300}
    with pytest.raises(
        UserError, match=r"the text for teacher: got .* which are no window of 1000"
    ):
        ladder.climb(config_of(text, tmp_path, models=models))
    assert not (tmp_path / "runs").exists()


def test_the_verb(text, tmp_path):
    path = tmp_path / "ladder.yaml"
    small = config_of(text, tmp_path / "run", alone=[{"layers": [1], "tokens": [STEP]}], taught=[])
    path.write_text(dump_yaml(small.model_dump(mode="json")), encoding="utf-8")
    told = CliRunner().invoke(app, ["ladder", str(path), "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout.splitlines()[-1])["runs"] == 1
    [row] = rows(small).values()
    assert (row["run_id"], row["D"], row["steps"], row["teacher"]) == ("1l-64", STEP, 1, None)
    assert 0 < row["loss"] < np.log(300) + 0.1
    assert (small.folder / "runs" / "1l-64" / "model.safetensors").exists()
    told = CliRunner().invoke(app, ["ladder", str(path), "text=[nowhere]"])
    assert told.exit_code == 1
    assert "there is no text at nowhere" in told.stderr
    told = CliRunner().invoke(app, ["ladder", str(path), "train.batch_size=9"])
    assert told.exit_code == 2
    assert "does not divide over the 8 devices" in told.stderr
    told = CliRunner().invoke(app, ["ladder", str(path), "train.accumulation=2"])
    assert told.exit_code == 2
    assert "8, in 2 parts (train.accumulation), which does not divide" in told.stderr
