"""The model that writes ahead in speculative decoding, and how well it does."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from distil_jax.errors import UserError
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.generate import Speculation
from distil_jax.models.pretrained import Pretrained


@dataclass(frozen=True, eq=False)
class Draft:
    """params: on the host, without an encoder where it is the teacher's.

    tokens: drafted at once.
    """

    model: ModelConfig
    params: dict
    tokens: int

    @classmethod
    def of(
        cls, model: ModelConfig, params: dict, tokens: int, teacher: ModelConfig, teachers: dict
    ) -> "Draft":
        """Of a model with the teacher's vocabulary; `teachers` are the teacher's parameters.

        An encoder equal to the teacher's, number by number, is left to the teacher.
        """
        same = _hears_alike(model, teacher) and _equal(params["encoder"], teachers["encoder"])
        kept = {side: part for side, part in params.items() if side != "encoder" or not same}
        return cls(model, kept, tokens)


def counted(speculation: Speculation) -> Counter[str]:
    """Sums over the rows of a batch."""
    return Counter({name: int(np.sum(each)) for name, each in speculation._asdict().items()})


def acceptance(counts: Mapping[str, int]) -> dict[str, Any]:
    """For a user, of sums by the names of Speculation; the rate is null if nothing was drafted."""
    drafted, accepted = counts.get("drafted", 0), counts.get("accepted", 0)
    return {
        "drafted": drafted,
        "accepted": accepted,
        "acceptance_rate": round(accepted / drafted, 4) if drafted else None,
    }


def check_vocabulary(draft: Pretrained, teacher: Pretrained) -> None:
    """Raises UserError where the two would not mean the same by a token."""
    ours, theirs = draft.config.vocab_size, teacher.config.vocab_size
    why = f"it has {ours} tokens, the other {theirs}" if ours != theirs else ""
    if not why and draft.tokenizer is not None and _ids(draft) != _ids(teacher):
        why = "its tokenizer gives other ids to the same texts"
    if why:
        raise UserError(
            f"{draft.source}: its vocabulary is another than that of {teacher.source}: {why}. "
            f"Expected a draft model of the same vocabulary, such as a student of that teacher"
        )


def _ids(model: Pretrained) -> tuple[Any, ...]:
    names = model.vocabulary
    return names.tokenizer["model"]["vocab"], names.start, names.end, names.first_timestamp


def _hears_alike(one: ModelConfig, other: ModelConfig) -> bool:
    """Whether all but the decoders is of one shape, and of one architecture."""

    def hearing(model: ModelConfig) -> dict:
        return {k: v for k, v in model.model_dump().items() if not k.startswith("decoder_")}

    return type(one) is type(other) and hearing(one) == hearing(other)


def _equal(one: dict, other: dict) -> bool:
    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))
