"""Labels on disk: whole shards or none, and never two kinds of labels in one folder."""

import pyarrow as pa
import pytest

from distil_jax.errors import UserError
from distil_jax.labelling.store import SCHEMA, LabelStore


def rows(first: int, count: int) -> list[dict]:
    empty = dict.fromkeys(SCHEMA.names)
    return [
        {**empty, "id": f"clip-{i}", "corpus": "c", "label": "word", "tokens": [i, i + 1]}
        for i in range(first, first + count)
    ]


FIRST, SECOND = "3 utterances", "2 others"  # what the two shards are of, as hashes
STATE = "as it was"


@pytest.fixture
def store(tmp_path) -> LabelStore:
    return LabelStore(tmp_path / "corpus")


def finished(store: LabelStore) -> LabelStore:
    store.write(0, FIRST, rows(0, 3))
    store.write(1, SECOND, rows(3, 2))
    store.finish([FIRST, SECOND], STATE)
    return store


def test_labels_come_back_in_the_order_of_the_corpus(store):
    store.write(1, SECOND, rows(3, 2))
    store.write(0, FIRST, rows(0, 3))
    store.finish([FIRST, SECOND], STATE)
    table = store.read()
    assert table.schema == SCHEMA
    assert table["id"].to_pylist() == [f"clip-{i}" for i in range(5)]
    assert table["tokens"].to_pylist()[4] == [4, 5]


def test_some_columns_may_be_read_alone(store):
    assert finished(store).read(["id", "label"]).column_names == ["id", "label"]


def test_a_folder_claimed_for_the_same_work_goes_on(store):
    store.claim("abc")
    store.claim("abc")


def test_a_folder_without_a_label_is_anybody_s(store):
    store.claim("def")
    store.claim("abc")
    finished(store)
    with pytest.raises(UserError, match="made with another"):
        store.claim("def")


def test_a_folder_of_other_labels_is_refused_and_left_alone(store):
    store.claim("abc")
    finished(store)
    with pytest.raises(UserError, match=r"corpus holds labels made with another teacher"):
        store.claim("def")
    store.claim("abc")
    assert store.read().num_rows == 5


def test_a_shard_that_breaks_half_way_is_not_there(store, monkeypatch):
    def broken(table: pa.Table, path) -> None:
        path.write_bytes(b"PAR1 half")
        raise OSError("no space left on device")

    monkeypatch.setattr("distil_jax.labelling.store.pq.write_table", broken)
    with pytest.raises(OSError, match="no space"):
        store.write(0, FIRST, rows(0, 3))
    assert not store.has(0, FIRST)
    assert list(store.folder.iterdir()) == []


def test_what_a_kill_left_half_written_is_not_taken_for_a_shard(store):
    store.folder.mkdir()
    (store.folder / ".shard-00000.parquet.partial.parquet").write_bytes(b"PAR1 half")
    assert not store.has(0, FIRST)
    assert finished(store).read().num_rows == 5


def test_reading_before_the_end_says_what_to_do(store):
    store.write(0, FIRST, rows(0, 3))
    assert store.has(0, FIRST)
    assert not store.has(1, SECOND)
    assert not store.finished(STATE)
    with pytest.raises(UserError, match=r"labelling is not finished; run `distil-jax label`"):
        store.read()


def test_a_corpus_that_changed_is_not_taken_for_the_one_that_was_labelled(store):
    finished(store)
    assert store.finished(STATE)
    assert store.finished(None)  # a stream, of which nothing is known in advance
    assert not store.finished("otherwise")  # it must be looked through
    with pytest.raises(UserError, match=r"shard-00000.parquet changed since it was made. Remove"):
        store.has(0, "2 utterances and a new one")


def test_the_content_is_that_of_all_shards_in_order(store):
    found = finished(store).content
    store.finish([SECOND, FIRST], STATE)
    assert store.content != found
    store.finish([FIRST, SECOND], "copied elsewhere")
    assert store.content == found


def test_a_shard_that_was_removed_is_labelled_anew(store):
    """As the message about a damaged one advises."""
    finished(store).shard(1).unlink()
    assert not store.finished(STATE)
    assert store.has(0, FIRST)
    assert not store.has(1, SECOND)


@pytest.mark.parametrize("damage", [b"", b"not parquet at all"])
def test_an_unreadable_shard_is_named(store, damage: bytes):
    finished(store).shard(1).write_bytes(damage)
    with pytest.raises(UserError, match=r"shard-00001.parquet cannot be read.*remove it and run"):
        store.read()


def test_a_missing_shard_is_named(store):
    finished(store).shard(0).unlink()
    with pytest.raises(UserError, match=r"shard-00000.parquet cannot be read"):
        store.read()


def test_a_corpus_without_clips_has_an_empty_table(store):
    store.finish([], STATE)
    assert store.read().num_rows == 0
    assert store.finished(STATE)
