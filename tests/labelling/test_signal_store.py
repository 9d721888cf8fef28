"""The signals cache on disk: whole shards or none, found by clip, never of two kinds."""

import json

import numpy as np
import pytest
from safetensors import SafetensorError

from distil_jax.data.batch import StoredSignals
from distil_jax.errors import UserError
from distil_jax.labelling.signal_store import ClipKey, SignalStore

MADE_WITH = {"teacher": "abc", "signals.top_k": 3, "labels of books": "def"}
LENGTHS = [4, 1, 6, 2, 5]
KEYS = [ClipKey("books", f"clip-{i}", f"target-{i}", length) for i, length in enumerate(LENGTHS)]
PARTS = [slice(0, 3), slice(3, 5)]


def signals(number: int, states: bool = True, whole: bool = False) -> StoredSignals:
    rng = np.random.default_rng(number)
    time = LENGTHS[number]
    return StoredSignals(
        log_probs=-rng.random((time, 9 if whole else 4)).astype(np.float16),
        tokens=None if whole else rng.integers(0, 9, (time, 3)).astype(np.uint16),
        temperature=2.0,
        encoded=rng.normal(size=(6, 2)).astype(np.float16) if states else None,
    )


@pytest.fixture
def store(tmp_path) -> SignalStore:
    return SignalStore(tmp_path / "signals")


def write(store: SignalStore, index: int, **kind: bool) -> None:
    numbers = range(len(KEYS))[PARTS[index]]
    store.write(index, KEYS[PARTS[index]], [signals(number, **kind) for number in numbers])


def finished(store: SignalStore, **kind: bool) -> SignalStore:
    store.claim(MADE_WITH)
    for index in (1, 0):
        write(store, index, **kind)
    return store


def assert_same(got: StoredSignals, wanted: StoredSignals) -> None:
    assert got.temperature == wanted.temperature
    for name in ("log_probs", "tokens", "encoded"):
        one, other = getattr(got, name), getattr(wanted, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_a_clip_comes_back_as_it_was(store, states, whole):
    finished(store, states=states, whole=whole)
    for number in (3, 0, 2, 4, 1):
        (read,) = store.find([KEYS[number]])
        assert_same(read(), signals(number, states=states, whole=whole))


def test_a_shard_is_of_its_clips_and_their_targets(store):
    finished(store)
    assert store.has(0, KEYS[:3])
    assert store.has(1, KEYS[3:])
    assert not store.has(0, KEYS[:2])
    assert not store.has(0, [KEYS[1], KEYS[0], KEYS[2]])
    assert not store.has(0, [*KEYS[:2], KEYS[2]._replace(target="another")])
    assert not store.has(2, KEYS[:3])


def test_a_shard_is_written_over_by_one_of_other_clips(store):
    finished(store)
    store.write(0, KEYS[:1], [signals(0)])
    (read,) = store.find(KEYS[:1])
    assert_same(read(), signals(0))
    with pytest.raises(UserError, match=r"lacks 2 of 5 clips, the first of them 'clip-1'"):
        SignalStore(store.folder).find(KEYS)


def test_a_clip_that_is_not_there_is_named(store):
    finished(store)
    relabelled = [KEYS[0], KEYS[1]._replace(target="another"), ClipKey("calls", "x", "y", 3)]
    message = (
        r"lacks 2 of 3 clips \(1 of them are there with other labels\), .* 'clip-1' of 'books'"
    )
    with pytest.raises(UserError, match=message):
        store.find(relabelled)


def test_a_cache_made_otherwise_is_refused_in_the_words_of_the_settings(store):
    finished(store)
    store.claim(MADE_WITH)
    other = {**MADE_WITH, "signals.top_k": 8, "labels of calls": "ghi"}
    for refused in (store.claim, store.check):
        with pytest.raises(UserError) as caught:
            refused(other)
        assert "signals.top_k is 3 there and 8 here; labels of calls is None there" in str(
            caught.value
        )
    assert store.has(0, KEYS[:3])


def test_a_cache_of_more_than_is_asked_for_will_do(store):
    """Of another run that trained on two corpora, where this one trains on one of them."""
    finished(store)
    store.check({name: MADE_WITH[name] for name in ("teacher", "signals.top_k")})


def test_a_folder_without_a_shard_is_anybody_s(store):
    store.claim(MADE_WITH)
    store.claim({**MADE_WITH, "signals.top_k": 8})
    store.check({**MADE_WITH, "signals.top_k": 8})


def test_no_cache_at_all_says_what_to_do(store):
    with pytest.raises(UserError, match=r"has no signals cache; run `distil-jax cache` first"):
        store.check(MADE_WITH)


@pytest.mark.parametrize("damage", ["cut", "empty", "no safetensors", "another file"])
def test_a_damaged_shard_is_told_and_counts_as_missing(store, damage, caplog):
    path = finished(store).shard(1)
    whole = path.read_bytes()
    header = json.dumps({"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    path.write_bytes(
        {
            "cut": whole[:-100],
            "empty": b"",
            "no safetensors": b"nothing of the kind",
            "another file": len(header).to_bytes(8, "little") + header + b"\0",
        }[damage]
    )
    message = r"shard-00001.safetensors cannot be read .* run `distil-jax cache` again"
    with pytest.raises(UserError, match=message):
        store.find(KEYS)
    assert not store.has(1, KEYS[3:])
    assert "shard-00001.safetensors cannot be read" in caplog.text
    write(store, 1)
    assert path.read_bytes() == whole


def test_a_shard_that_breaks_half_way_is_not_there(store, monkeypatch):
    def full(arrays: dict, path, header: dict) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    store.claim(MADE_WITH)
    monkeypatch.setattr("distil_jax.labelling.signal_store.save_file", full)
    with pytest.raises(UserError, match=r"shard-00000.safetensors cannot be written: .*No space"):
        write(store, 0)
    assert [path.name for path in store.folder.iterdir()] == ["made_with.json"]


def test_what_a_kill_left_half_written_is_not_taken_for_a_shard(store):
    finished(store)
    (store.folder / ".shard-00002.safetensors.partial.safetensors").write_bytes(b"half")
    assert len(store.find(KEYS)) == 5
    assert not store.has(2, [])


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_the_type_cannot_hold_is_refused(store, value):
    spoilt = signals(0)
    assert spoilt.encoded is not None
    spoilt.encoded[3, 1] = value
    with pytest.raises(UserError, match=r"encoded has numbers that float16 cannot hold"):
        store.write(0, KEYS[:1], [spoilt])
    assert not store.shard(0).exists()


def test_shards_that_are_no_longer_wanted_go(store):
    finished(store).drop_after(1)
    assert store.has(0, KEYS[:3])
    assert not store.shard(1).exists()


def test_shards_beyond_the_names_digits_stay_in_order(store):
    store.write(100_000, KEYS[3:], [signals(3), signals(4)])
    store.drop_after(1)
    assert not store.shard(100_000).exists()
