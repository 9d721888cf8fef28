"""Models: one file an architecture, and the roads by which weights and vocabularies come in.

A new architecture is one file with what architecture.py lists (whisper.py is one), and one line
here: the `model_type` of its config.json, and where its config class is.
"""

ARCHITECTURES = {
    "whisper": "distil_jax.models.whisper:WhisperConfig",
}
