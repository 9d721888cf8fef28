"""YAML in and out, by the rules of YAML 1.2 where PyYAML still keeps those of 1.1.

There `no` (Norwegian) is false, `1e-4` is text, `010` is eight and `1:30` is ninety; here they are
text, a number, text and text. Duplicate keys are problems, not silent losses.
"""

import json
import re
from typing import Any

import yaml

# tag, pattern, first characters (what PyYAML looks a plain scalar up by)
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)


def _with_scalars(base: type) -> type:
    """`base` with our own rules for what a plain scalar is."""
    made = type(f"Plain{base.__name__}", (base,), {"yaml_implicit_resolvers": {}})
    for tag, pattern, first in _SCALARS:
        made.add_implicit_resolver(
            f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), first
        )
    return made


_Loader: Any = _with_scalars(yaml.SafeLoader)
_Dumper: Any = _with_scalars(yaml.SafeDumper)


def parse_yaml(text: str) -> tuple[Any, list[str]]:
    """The value of a YAML document (JSON types), and one line for each key that is given twice.

    Raises:
        ValueError: the text is not YAML; the message says where and why.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, []
        repeated = _repeated_keys(node, "")
        # Through JSON, so that what an alias repeats is not one and the same object.
        return json.loads(json.dumps(loader.construct_document(node))), repeated
    except yaml.MarkedYAMLError as error:
        raise ValueError(_where(error)) from error
    except RecursionError:
        raise ValueError("an anchor refers to itself, or the nesting is too deep") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except TypeError as error:
        raise ValueError(f"only text, numbers, lists and sections are allowed: {error}") from error
    finally:
        if loader:
            loader.dispose()


def dump_yaml(value: Any) -> str:
    """`value` (JSON types) as YAML in its own order; `parse_yaml` gives the same value back."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, indent=2
    )


def _repeated_keys(node: yaml.Node, path: str) -> list[str]:
    """`a.b: given twice (lines 3 and 7)` for each repeated key at or under `node`."""
    if isinstance(node, yaml.SequenceNode):
        below = [(f"{path}.{index}", child) for index, child in enumerate(node.value)]
    elif isinstance(node, yaml.MappingNode):
        below = [(f"{path}.{key.value}", child) for key, child in node.value]
    else:
        return []
    problems = _twice(node, path) if isinstance(node, yaml.MappingNode) else []
    return problems + [line for name, child in below for line in _repeated_keys(child, name)]


def _twice(node: yaml.MappingNode, path: str) -> list[str]:
    """The keys of one mapping that are given more than once."""
    first: dict[Any, int] = {}
    problems = []
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f"line {line}: a key must be plain text, got a list or a section")
        if key.value in first:
            name = f"{path}.{key.value}".lstrip(".")
            problems.append(f"{name}: given twice (lines {first[key.value]} and {line}); keep one")
        first.setdefault(key.value, line)
    return problems


def _where(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}{error.problem or error.context}"
