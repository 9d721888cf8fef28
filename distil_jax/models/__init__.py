"""Models: one file an architecture, and the roads by which weights and vocabularies come in.

A new architecture is one file (a config class with `from_hf` and `to_hf`, `init(config)`, and
NAME_TABLE; see whisper.py) and one line here: the `model_type` of its config.json, and where its
config class is.
"""

ARCHITECTURES = {
    "whisper": "distil_jax.models.whisper:WhisperConfig",
}
