"""A draft model of tiny's shape for whisper base, made of tiny.en: English, without timestamps.

No package holds a multilingual tiny, and the vocabularies of tiny.en and base differ. But most
English words are one token in both: each token of base's gets the embedding of the same text.
"""

import numpy as np

from distil_jax.models.pretrained import Pretrained, load_pretrained
from distil_jax.models.tokenizer_files import added_ids
from tests.made_up import DEMO_TINY


def tiny_draft(base: Pretrained) -> Pretrained:
    """Its encoder is tiny.en's own."""
    tiny = load_pretrained(DEMO_TINY)
    old, ours, theirs = tiny.params["decoder"], _ids(base), _ids(tiny)
    embedding = np.tile(old["embedding"].mean(axis=0), (base.config.vocab_size, 1))
    for text, number in ours.items():
        if text in theirs:
            embedding[number] = old["embedding"][theirs[text]]
    # tiny.en's prompt lacks language and task: for it they are the start once more.
    names = base.vocabulary
    for number in (names.languages["en"], names.transcribe):
        embedding[number] = old["embedding"][tiny.vocabulary.start]
    first, more = old["positions"][:1], len(names.prefix("en")) - len(tiny.vocabulary.prefix())
    positions = np.concatenate([*[first] * more, old["positions"]])[: len(old["positions"])]
    decoder = {**old, "embedding": embedding, "positions": positions}
    return Pretrained(
        tiny.config.model_copy(update={"vocab_size": base.config.vocab_size}),
        {**tiny.params, "decoder": decoder},
        base.tokenizer,
        base.generation_config,
        "tiny.en with the vocabulary of base",
        "",
    )


def _ids(model: Pretrained) -> dict[str, int]:
    tokenizer = model.vocabulary.tokenizer
    return {**tokenizer["model"]["vocab"], **added_ids(tokenizer)}
