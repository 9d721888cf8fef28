"""Says what is wrong with a config: the key's full path, what was got, what is allowed."""

import difflib
import json
import types
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

_KINDS = {
    bool: "true/false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a section",
    type(None): "nothing",
}
_PLAIN = {  # pydantic's words for JSON, in a reader's
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "a valid array": "a list",
    "an object": "a section of keys and values",
}


def explain(error: ValidationError, model: type[BaseModel], data: Any) -> list[str]:
    """One line per mistake, each beginning with the key's full path.

    Args:
        error: what pydantic found when it read `data` as JSON into `model`.
        data: the whole document (JSON types).
    """
    expected: dict[tuple[str, str], list[str]] = {}  # the branches of a union share one line
    for each in error.errors(include_url=False):
        if each["type"] == "too_short" and len(each["input"]) >= each.get("ctx", {})["min_length"]:
            continue  # items are there; their own mistakes are told
        types_at, path = _walk(model, each["loc"], data)
        start, wish = _say(each, types_at, path)
        wishes = expected.setdefault((".".join(map(str, path)) or "the file", start), [])
        if wish and wish not in wishes:
            wishes.append(wish)
    return [f"{path}: {start}{' or '.join(wishes)}" for (path, start), wishes in expected.items()]


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`did you mean 'x'? ` for the most similar of `allowed`, or nothing."""
    match = difflib.get_close_matches(name, list(allowed), n=1)
    return f"did you mean '{match[0]}'? " if match else ""


def _say(error: Any, types_at: Sequence[Any], path: Sequence[Any]) -> tuple[str, str]:
    """What happened, and what is allowed there."""
    kind, message = error["type"], str(error["msg"])
    if kind == "extra_forbidden":
        allowed = sorted({name for each in types_at for name in _fields(each)})
        hint = nearest(str(path[-1]), allowed)
        return f"unknown key; {hint}Allowed here: ", ", ".join(allowed)
    if kind == "missing":
        return "missing; expected ", describe(types_at)
    if kind == "value_error":
        got = "" if isinstance(error["input"], dict) else f"got {_shown(error['input'])}; "
        return got + message.removeprefix("Value error, "), ""
    got = f"got {_shown(error['input'])}, expected "
    if kind == "union_tag_invalid":
        context = error["ctx"]
        return got, f"{context['discriminator']} to be one of {context['expected_tags']}"
    if kind == "union_tag_not_found":
        return got, f"the key {error['ctx']['discriminator']} in it"
    if kind == "model_type":
        return got, describe(types_at)
    if kind == "too_short":
        return got, f"at least {error['ctx']['min_length']} of them"
    if kind == "string_pattern_mismatch":
        return got, f"text like {error['ctx']['pattern']}"
    wish = message.removeprefix("Input should be ").removeprefix("Input should ")
    return got, _PLAIN.get(wish, wish)


def describe(annotations: Sequence[Any]) -> str:
    """What a value of one of these types looks like in YAML."""
    return " or ".join(dict.fromkeys(_describe(each) for each in annotations)) or "a value"


def _describe(annotation: Any) -> str:
    if names := _fields(annotation):
        return f"a section with the keys {', '.join(names)}"
    origin = get_origin(annotation)
    if origin is Literal:
        return "one of " + ", ".join(json.dumps(each) for each in get_args(annotation))
    return _KINDS.get(origin or annotation, "a value")


def _shown(value: Any, most: int = 60) -> str:
    """A value as YAML would have it, with its kind; long ones are cut."""
    text = "null" if value is None else json.dumps(value, ensure_ascii=False)
    return f"{text if len(text) <= most else text[:most] + '...'} ({_KINDS.get(type(value))})"


def _walk(model: type[BaseModel], steps: Sequence[Any], data: Any) -> tuple[list[Any], list[Any]]:
    """The types allowed at an error's place, and its path as the file spells it.

    Pydantic puts the branch of a union into the place; a file has no such key, so it is left out.
    For an unknown key the types are those of the section that holds it.
    """
    types_at, path = _branches(model), []
    for number, step in enumerate(steps):
        inside = isinstance(data, dict) and step in data
        inside |= isinstance(data, list) and isinstance(step, int) and step < len(data)
        below = [found for each in types_at for found in _below(each, step)]
        if inside or (below and number == len(steps) - 1):
            data = data[step] if inside else None
            types_at = below or types_at
            path.append(step)
        else:
            types_at = [each for each in types_at if _is_tagged(each, step)] or types_at
    return types_at, path


def _branches(annotation: Any) -> list[Any]:
    """The members of a union, or the type itself; annotations taken off."""
    if get_origin(annotation) is Annotated:
        return _branches(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [found for each in get_args(annotation) for found in _branches(each)]
    return [annotation]


def _below(annotation: Any, step: Any) -> list[Any]:
    """The types of what `step` names inside a section, a mapping or a list."""
    fields, inner = _fields(annotation), get_args(annotation)
    if step in fields:
        return _branches(fields[step].annotation)
    if isinstance(step, int) and inner and get_origin(annotation) in (list, tuple):
        return _branches(inner[min(step, len(inner) - 1)] if inner[-1] is not ... else inner[0])
    if get_origin(annotation) is dict and inner:
        return _branches(inner[1])
    return []


def _fields(annotation: Any) -> dict[str, Any]:
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation.model_fields if is_model else {}


def _is_tagged(annotation: Any, tag: Any) -> bool:
    """Whether a union's branch is the one that pydantic calls `tag`."""
    literals = [get_args(field.annotation) for field in _fields(annotation).values()]
    return getattr(annotation, "__name__", None) == tag or (tag,) in literals
