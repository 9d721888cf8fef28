"""Reads a YAML file and dotted overrides into a frozen config class, and writes it back."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from distil_jax.config_errors import explain, nearest
from distil_jax.errors import ConfigError, UserError
from distil_jax.settings import Settings
from distil_jax.yaml_io import dump_yaml, parse_yaml

FILE_NAME = "config.yaml"  # what a run folder calls its own config

AnySettings = TypeVar("AnySettings", bound=Settings)


def read_config_file(
    model: type[AnySettings], path: Path, overrides: Sequence[str] = ()
) -> AnySettings:
    """The file at `path` (or in the run folder `path`) with `overrides` laid over it.

    Args:
        overrides: `dotted.key=value`, the value in YAML; a number is an index into a list.

    Raises:
        ConfigError: with every mistake found, each on a line that begins with the key's full path.
    """
    path = _file_of(path)
    data, problems = _parse(path)
    for override in overrides:
        try:
            _lay_over(data, *_split(override))
        except ValueError as error:
            problems.append(str(error))
    try:
        # As JSON, and strictly: a list may become a tuple and text a path, but "3" is no number.
        made = model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        problems += explain(error, model, data)
    else:
        if not problems:
            return made
    count = f"{len(problems)} mistake{'s' * (len(problems) > 1)}"
    raise ConfigError(f"{count} in {path}:\n" + "\n".join(f"  {line}" for line in problems))


def dump_config(config: Settings) -> str:
    """The whole config, defaults too, as YAML in the order of its classes; it reads back equal."""
    return dump_yaml(config.model_dump(mode="json"))


@contextmanager
def at_key(key: str) -> Iterator[None]:
    """A UserError of the block names the config's key (`data.train.mine`) that it is about.

    Where the error has a key of its own, that one is appended (`data.train.mine.path`).
    """
    try:
        yield
    except UserError as error:
        path = f"{key}.{error.key}" if error.key else key
        raise type(error)(f"{path}: {error}") from error


def _file_of(path: Path) -> Path:
    """`path`, or the config inside it when it is the folder of a run."""
    file = path / FILE_NAME if path.is_dir() else path
    if file.is_file():
        return file
    if path.is_dir():
        raise ConfigError(
            f"{path} is a folder without {FILE_NAME}, so it is not the folder of a run."
        )
    beside = sorted(path.parent.glob("*.yaml"))
    listed = f" {path.parent} holds: {', '.join(each.name for each in beside)}." if beside else ""
    hint = nearest(path.name, [each.name for each in beside])
    raise ConfigError(f"no config at {path}: {hint or 'no such file. '}{listed.strip()}")


def _parse(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The document and its repeated keys."""
    try:
        data, repeated = parse_yaml(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no sections; expected lines like `name: my_run`.")
    return data, repeated


def _split(override: str) -> tuple[list[str], Any]:
    """'train.steps=200' -> (['train', 'steps'], 200)."""
    key, equals, text = override.partition("=")
    steps = key.strip().split(".")
    if not equals or not all(steps):
        raise ValueError(f"{override}: not an override; expected dotted.key=value")
    try:
        value, repeated = parse_yaml(text)
    except ValueError as error:
        raise ValueError(f"{key}: got `{text}`, which is not YAML: {error}") from error
    if repeated:
        raise ValueError(f"{key}: got `{text}`, where a key is given twice")
    return steps, value


def _lay_over(data: dict[str, Any], steps: list[str], value: Any) -> None:
    """Set the value at `steps`; sections that are not there yet are made."""
    place: Any = data
    for number, step in enumerate(steps, 1):
        index: Any = step
        if isinstance(place, list):
            index = _index(place, steps[:number])
        elif not isinstance(place, dict):
            raise ValueError(
                f"{'.'.join(steps)}: {'.'.join(steps[: number - 1])} is {json.dumps(place)}, "
                f"not a section that could hold '{step}'"
            )
        elif place.get(step) is None:
            place[step] = {}
        if number == len(steps):
            place[index] = value
        else:
            place = place[index]


def _index(items: list[Any], steps: list[str]) -> int:
    """The last of `steps` as an index into `items`."""
    if steps[-1].isdigit() and int(steps[-1]) < len(items):
        return int(steps[-1])
    allowed = f"0 to {len(items) - 1}" if items else "none, it is empty"
    raise ValueError(
        f"{'.'.join(steps)}: {'.'.join(steps[:-1])} is a list; got '{steps[-1]}', "
        f"expected an index ({allowed})"
    )
