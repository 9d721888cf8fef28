"""The shapes of the published Whisper models: a run is planned before its weights are there."""

from distil_jax.models.whisper import WhisperConfig

# name: width, layers of encoder and decoder, heads (config.json of openai/whisper-* on the hub)
_SIZES = {
    "tiny": (384, 4, 4, 6),
    "base": (512, 6, 6, 8),
    "small": (768, 12, 12, 12),
    "medium": (1024, 24, 24, 16),
    "large": (1280, 32, 32, 20),
    "large-v2": (1280, 32, 32, 20),
    "large-v3": (1280, 32, 32, 20),
    "large-v3-turbo": (1280, 32, 4, 20),
}
_HUB = "openai/whisper-"


def published_shape(location: str) -> WhisperConfig | None:
    """The shape of a model by its hub id ("openai/whisper-large-v3"); None for any other."""
    name = location.removeprefix(_HUB)
    english = name.endswith(".en")
    size = _SIZES.get(name.removesuffix(".en"))
    if not location.startswith(_HUB) or size is None or (english and "large" in name):
        return None
    width, encoder_layers, decoder_layers, heads = size
    third = name.startswith("large-v3")
    return WhisperConfig(
        d_model=width,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        encoder_heads=heads,
        decoder_heads=heads,
        encoder_ffn=4 * width,
        decoder_ffn=4 * width,
        vocab_size=51864 if english else 51866 if third else 51865,
        n_mels=128 if third else 80,
    )
