"""Attention to the encoder, head by head, and the times of tokens: those of transformers.

On made-up models, whose decoding does not matter: what they wrote is read again.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distil_jax.labelling.alignment.aligner import Aligner, Spoken
from distil_jax.labelling.decoding import Decoding
from distil_jax.models.alignment_heads import all_heads
from distil_jax.models.cross_attention import attend_by_head, text_probabilities
from distil_jax.models.layers import Compute
from distil_jax.models.pretrained import Pretrained, load_pretrained
from distil_jax.models.whisper import Whisper, WhisperConfig, bind
from tests.decodings import decoding_of
from tests.made_up import MULTILINGUAL, write_generation_config, write_tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WEIGHTS = 1e-5
HEADS = ((1, 1), (0, 0), (2, 1))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[Any, Pretrained]:
    """(theirs, ours) with the same random weights, large enough that heads look somewhere."""
    torch.manual_seed(0)
    values = {**MULTILINGUAL.hf_config, "d_model": 32, "encoder_layers": 2, "init_std": 0.3}
    theirs = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(**values, attn_implementation="eager")
    ).eval()
    folder: Path = tmp_path_factory.mktemp("model")
    theirs.save_pretrained(folder)
    write_tokenizer(folder, MULTILINGUAL)
    write_generation_config(folder, MULTILINGUAL)
    return theirs, load_pretrained(str(folder))


def bound(ours: Pretrained, params: dict) -> Whisper:
    assert isinstance(ours.config, WhisperConfig)
    return bind(ours.config, Compute(), params)


def test_weights_of_every_head_and_probabilities(models):
    theirs, ours = models
    rng = np.random.default_rng(1)
    mel = rng.normal(size=(2, 3000, 80)).astype(np.float32)
    tokens = rng.integers(0, ours.config.vocab_size, (2, 13))
    heads = all_heads(range(3), 2)

    @jax.jit
    def attend(params, mel, tokens):
        model = bound(ours, params)
        attended = attend_by_head(model.decoder, tokens[:, :-1], model.encoder(mel), heads)
        following = tokens[:, 1:]
        return attended, text_probabilities(model.decoder, attended.hidden, following, 50257)

    got, probabilities = attend(ours.params, jnp.asarray(mel), jnp.asarray(tokens))
    read, following = torch.tensor(tokens[:, :-1]), torch.tensor(tokens[:, 1:])
    with torch.no_grad():
        features = torch.tensor(mel.swapaxes(1, 2))
        expected = theirs(features, None, read, output_attentions=True)
    weights = torch.stack(expected.cross_attentions, dim=1).flatten(1, 2).numpy()
    np.testing.assert_allclose(got.weights, weights, atol=WEIGHTS, rtol=0)
    assert weights.max() > 100 / 1500, "the weights are too even for the test to mean anything"
    of_text = expected.logits[..., :50257].softmax(-1)
    of_text = of_text.gather(2, following.clamp(max=50256)[..., None])[..., 0]
    of_text = of_text.where(following < 50257, 0.0)
    np.testing.assert_allclose(probabilities, of_text, atol=1e-5, rtol=1e-3)


@pytest.mark.slow
def test_times_of_tokens(models):
    """Clips of several lengths in batches, with what they have alone in transformers."""
    theirs, ours = models
    rng = np.random.default_rng(2)
    extractor = transformers.WhisperFeatureExtractor()
    sounds = [rng.normal(0, 0.1, n).astype(np.float32) for n in (480_000, 100_001, 31_000)]
    prompt = ours.vocabulary.prefix("de")
    spoken, expected = [], []
    theirs.generation_config.alignment_heads = [list(head) for head in HEADS]
    for number, samples in enumerate(sounds):
        heard = extractor(
            samples, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True
        )
        with torch.no_grad():
            out = theirs.generate(
                heard.input_features,
                attention_mask=heard.attention_mask,
                decoder_input_ids=torch.tensor([prompt]),
                max_new_tokens=[9, 40, 70][number],
                return_token_timestamps=True,
                do_sample=True,
                return_dict_in_generate=True,
                force_unique_generate_call=True,
            )
        spoken.append(Spoken(samples, prompt, out["sequences"][0, len(prompt) :].tolist()))
        expected.append(out["token_timestamps"][0, len(prompt) :].numpy())
    decoding = decoding_of(ours, Decoding, devices=2, batch_size=2)
    found = list(Aligner(decoding, HEADS)(decoding.place(ours.params), spoken))
    for got, times in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got.ends, times)
        assert got.ends.max() > 0.5
        assert len(got.probabilities) == len(times)
