"""Which kind of corpus a config means, and which part of it."""

from itertools import islice
from pathlib import Path

from distil_jax.data.folders import ListCorpus, listed
from distil_jax.data.speech import Corpus, SpeechConfig
from distil_jax.data.tables import TABLE_KINDS, holds_tables, open_table
from distil_jax.data.text import language_code, languages
from distil_jax.errors import UserError
from distil_jax.locations import resolve


def open_source(name: str, config: SpeechConfig) -> Corpus:
    """See speech.open_corpus. A UserError says which key of the config is wrong.

    What is on disk is never looked up on the hub: a table of `datasets` if it is or holds one, else
    recordings. `owner/name` that is not on disk is an id on the hub.
    """
    _check_language(config)
    try:
        return _open(name, config)
    except UserError as error:
        error.key = error.key or "path"
        raise


def _open(name: str, config: SpeechConfig) -> Corpus:
    if is_hub_id(config.path):
        return open_table(name, config, None)
    path = resolve(config.path)
    if path.suffix in TABLE_KINDS or holds_tables(path):
        return open_table(name, config, path)
    shared = (u for u in listed(path, config) if config.takes(u.id))
    return ListCorpus(name, list(islice(shared, config.limit)))


def is_hub_id(path: str) -> bool:
    """Whether `path` is owner/name and nothing on this disk."""
    local = path.startswith(("package:", ".", "/", "~")) or Path(path).exists()
    return not local and path.count("/") == 1 and Path(path).suffix not in TABLE_KINDS


def _check_language(config: SpeechConfig) -> None:
    if config.language and language_code(config.language) not in languages():
        raise UserError(
            f"language {config.language!r} is none that Whisper knows; expected a code or a name, "
            f"like 'de' or 'german': {', '.join(sorted(languages()))}",
            key="language",
        )
