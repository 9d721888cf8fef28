"""Other people's tables of runs: what is read, what is left out, and what is told."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distil_jax.errors import UserError
from distil_jax.scaling.fitting.checks import check_runs
from distil_jax.scaling.fitting.reading import read_tables
from distil_jax.scaling.fitting.runs import Runs

TEXT = """params,tokens,val_loss,status,tokenizer
1e8,2e9,3.1,finished,bpe
2e8,4e9,2.9,finished,bpe
3e8,6e9,nan,finished,bpe
-4e8,8e9,2.7,finished,bpe
5e8,1e10,2.6,diverged,bpe
6e8,,2.5,finished,bpe
"""
UNKNOWN = (
    "no table says the loss of the teacher that is named: add it as a column teacher_loss, or say "
    "which column has the names of the runs, as in --column run=name"
)
COLUMNS = {"N": "params", "D": "tokens", "loss": "val_loss"}


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "runs.csv"
    path.write_text(TEXT)
    return path


def test_runs_that_are_no_use_are_left_out_by_name(path):
    table = read_tables([path], COLUMNS)
    np.testing.assert_array_equal(table.numbers["N"], [1e8, 2e8])
    np.testing.assert_array_equal(table.numbers["loss"], [3.1, 2.9])
    assert table.rows.tolist() == [2, 3]  # as an editor counts: the names are line 1
    assert table.notes == [
        f"1 run left out: N is no number above 0 ({path} line 5)",
        f"1 run left out: D is empty or nan ({path} line 7)",
        f"1 run left out: loss is empty or nan ({path} line 4)",
        f"1 run left out: the status says that it did not finish ({path} line 6)",
    ]
    assert np.isnan(table.numbers["teacher_loss"]).all()


def test_several_files_and_formats(path, tmp_path):
    other = tmp_path / "more.parquet"
    rows = {"params": [7e8], "tokens": [int(2e10)], "val_loss": [2.4], "teacher_loss": [2.0]}
    pq.write_table(pa.table(rows), other)
    table = read_tables([path, other], COLUMNS)
    np.testing.assert_array_equal(table.numbers["D"], [2e9, 4e9, 2e10])
    np.testing.assert_array_equal(np.isnan(table.numbers["teacher_loss"]), [True, True, False])
    assert table.rows.tolist() == [2, 3, 1]
    assert table.places() == f"{path} lines 2, 3; {other} row 1"
    assert table.places(most=1) == f"{path} line 2, ..."
    folder = read_tables([tmp_path], COLUMNS)  # in the order of their names
    np.testing.assert_array_equal(folder.numbers["D"], [2e10, 2e9, 4e9])
    pq.write_table(pa.table(rows), tmp_path / "runs.parquet")
    np.testing.assert_array_equal(read_tables([tmp_path], COLUMNS).numbers["D"], [2e10])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: got a folder without a \.csv, \.tsv or \.parq"):
        read_tables([tmp_path / "empty"], COLUMNS)


def test_empty_cells_say_nothing(path):
    path.write_text(
        "N,D,loss,teacher,teacher_loss,weight,status,tokenizer\n"
        "1e8,2e9,3.1,,,,,\n2e8,4e9,2.9,big,2.5,2,finished,bpe\n3e8,4e9,2.9,big,0,2,,bpe\n"
        "3e8,4e9,2.9,big,2,-1,,bpe\n"
    )
    table = read_tables([path], {})
    assert table.words["teacher"].tolist() == [None, "big"]
    assert table.words["status"].tolist() == [None, "finished"]
    np.testing.assert_array_equal(table.numbers["weight"], [np.nan, 2])
    assert table.notes == [
        f"1 run left out: teacher_loss is no number above 0 ({path} line 4)",
        f"1 run left out: weight is no number above 0 ({path} line 5)",
    ]


def test_a_student_of_an_unknown_loss_is_no_run_alone(path):
    path.write_text(
        "N,D,loss,teacher,teacher_loss\n"
        "1e8,2e9,3.1,,\n2e8,4e9,2.9,big,2.5\n3e8,4e9,2.8,big,\n4e8,4e9,2.7,big,inf\n"
    )
    table = read_tables([path], {})
    assert table.rows.tolist() == [2, 3]
    assert table.notes == [
        f"1 run left out: teacher_loss is no number above 0 ({path} line 5)",
        f"1 run left out: {UNKNOWN} ({path} line 4)",
    ]


def test_students_are_no_runs_alone_where_no_teacher_is_known(path):
    path.write_text("N,D,loss,teacher\n1e8,2e9,3.1,\n2e8,4e9,2.9,big\n2e8,5e9,2.9,big\n")
    table = read_tables([path], {})
    assert table.rows.tolist() == [2]
    assert table.notes == [f"2 runs left out: {UNKNOWN} ({path} lines 3, 4)"]


@pytest.mark.parametrize("nobody", ["none", "None", "NULL", "-", "n/a", "NaN", " "])
def test_no_teacher_may_be_said_in_words(path, nobody):
    path.write_text(f"N,D,loss,teacher,teacher_loss\n1e8,2e9,3.1,{nobody},\n1e8,2e9,3,big,2.5\n")
    table = read_tables([path], {})
    assert table.words["teacher"].tolist() == [None, "big"]
    assert table.notes == []


def test_teachers_among_the_runs_lend_their_losses(path):
    path.write_text(
        "run,N,D,loss,teacher,teacher_loss\n"
        "a,1e8,2e9,3.1,,\n"
        "b,2e8,4e9,2.9,,\n"
        "s1,1e8,2e9,3.0,a,\n"
        "s2,1e8,2e9,2.8,b,2.5\n"  # what is said counts
        "s3,1e8,2e9,2.7,elsewhere,\n"
        "b2,2e8,4e9,2.9,,\nb2,2e8,5e9,2.8,,\n"  # which of the two was the teacher?
        "s4,1e8,2e9,2.7,b2,\n"
    )
    table = read_tables([path], {})
    nothing = np.nan
    np.testing.assert_array_equal(
        table.numbers["teacher_loss"], [nothing, nothing, 3.1, 2.5, nothing, nothing]
    )
    assert table.notes == [
        "1 run left out: 2 runs are named b2, with different losses: say which it is, in a "
        f"column teacher_loss ({path} line 9)",
        f"1 run left out: {UNKNOWN} ({path} line 6)",
    ]


def test_copies_of_a_teacher_lend_its_loss(path):
    """And a run that did not end does not stand in the way of the one that did."""
    path.write_text(
        "run,N,D,loss,teacher,status\n"
        "a,1e8,2e9,3.1,,\na,1e8,2e9,3.1,,\na,1e8,1e9,3.3,,crashed\n"
        "b,1e8,1e9,3.3,,running\n"
        "s1,1e8,2e9,3.0,a,\ns2,1e8,2e9,3.0,b,\n"
    )
    table = read_tables([path], {})
    np.testing.assert_array_equal(table.numbers["teacher_loss"], [np.nan, np.nan, 3.1])
    assert table.notes == [
        f"2 runs left out: the status says that it did not finish ({path} lines 4, 5)",
        f"1 run left out: the status of the teacher b says that it did not finish ({path} line 7)",
    ]


def test_teachers_of_another_table_lend_their_losses(path, tmp_path):
    path.write_text("name,N,D,loss\na,1e8,2e9,3.1\n")
    students = tmp_path / "students.csv"
    students.write_text("N,D,loss,of\n1e8,2e9,3.0,a\n")
    table = read_tables([path, students], {"run": "name", "teacher": "of"})
    np.testing.assert_array_equal(table.numbers["teacher_loss"], [np.nan, 3.1])


@pytest.mark.parametrize(
    "status,kept",
    [
        *((each, True) for each in ("ok", "OK", "Finished", "success", "done", "succeeded", "")),
        *((each, False) for each in ("failed", "Crashed", "killed", "RUNNING", "unfinished")),
        *((each, False) for each in ("diverged", "preempted", "OUT_OF_MEMORY", "Timed out")),
        *((each, False) for each in ("failed (node 7)", "not finished", "in progress")),
    ],
)
def test_how_a_run_ended(path, status, kept):
    path.write_text(f"N,D,loss,status\n1e8,2e9,3.1,finished\n1e8,2e9,3.1,{status}\n")
    table = read_tables([path], {})
    assert len(table.rows) == 1 + kept
    assert len(table.notes) == 1 - kept


def test_an_unknown_status_is_told(path):
    path.write_text("N,D,loss,status\n1e8,2e9,3.1,finished\n1e8,2e9,3.1,golden\n")
    table = read_tables([path], {})
    assert len(table.rows) == 2
    assert table.notes == [
        "1 run with a status that the fit does not know, 'golden', counted as finished "
        f"({path} line 3)"
    ]


def test_one_bad_cell_costs_one_run(path):
    path.write_text(
        "N,D,loss,weight\n1e8,2e9,3.1,\n\n"  # an empty line counts, too
        '1e8,2e9,crashed,\n1e8,2e9,3.0,heavy\n1e8,2e9,"2,987",\n1e8,2e9,2.5,2\n'
    )
    table = read_tables([path], {})
    assert table.rows.tolist() == [2, 7]
    assert table.notes == [
        # 2,987 may be 2.987
        f"2 runs left out: loss is no number but 'crashed', '2,987' ({path} lines 4, 6)",
        f"1 run left out: weight is no number but 'heavy' ({path} line 5)",
    ]


def test_numbers_as_people_write_them(path):
    path.write_text('N , D,loss\n"1,234,567", "2,000,000,000", 3.1\n 1_000_000,2e9 ,3.0\n')
    table = read_tables([path], {})
    np.testing.assert_array_equal(table.numbers["N"], [1234567, 1e6])
    np.testing.assert_array_equal(table.numbers["D"], [2e9, 2e9])
    np.testing.assert_array_equal(table.numbers["loss"], [3.1, 3.0])


def test_tabs_and_byte_order_marks(tmp_path):
    (tmp_path / "runs.tsv").write_text("\ufeffN\tD\tloss\n1e8\t2,000,000\t3.1\n", "utf-8")
    table = read_tables([tmp_path], {})
    np.testing.assert_array_equal(table.numbers["D"], [2e6])


def test_several_tokenizers_are_refused(path):
    path.write_text(TEXT.replace("2.9,finished,bpe", "2.9,finished,unigram"))
    with pytest.raises(UserError, match=r"2 tokenizers \(bpe, unigram\): losses a token cannot"):
        read_tables([path], COLUMNS)


@pytest.mark.parametrize(
    "columns,told",
    [
        ({}, "got no column N, D, loss; it has params, tokens, val_loss, status, tokenizer"),
        ({**COLUMNS, "N": "size"}, "got no column size; it has"),
        ({**COLUMNS, "weight": "mass"}, "none of the tables has a column mass"),
        ({**COLUMNS, "n": "params"}, "column n: got a name that the fit does not know"),
        ({**COLUMNS, "weight": "status"}, "column of weight: expected numbers, as 1"),
        ({**COLUMNS, "loss": "status"}, r"got none in status, but 'finished' and the like \("),
    ],
)
def test_wrong_columns_are_told(path, columns, told):
    with pytest.raises(UserError, match=told):
        read_tables([path], columns)


def test_what_is_no_table_is_told(tmp_path):
    for name, text, told in (
        ("a.json", "{}", "got .json, expected .csv, .tsv, .parquet"),
        ("b.parquet", "PAR1 no", "cannot be read"),
        ("c.csv", "N,D,loss\n1,2\n", "cannot be read: line 2 has 2 cells, expected 3"),
        ("d.csv", "N,D,loss,loss\n1,2,3,4\n", "got 2 columns loss, expected one"),
        ("e.csv", "N;D;loss\n1;2;3\n", "its columns must be divided by commas"),
        ("f.tsv", "N,D,loss\n1,2,3\n", "its columns must be divided by tabs"),
        ("g.csv", "N,D,loss\n", "got no rows, expected one of each run"),
        ("h.csv", "", "cannot be read: got an empty file"),
        ("i.csv", 'N,D,loss\n1,2,3\n1,2,"3\n1,2,4\n', "line 4: unexpected end of data"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=told):
            read_tables([tmp_path / name], {})
    with pytest.raises(UserError, match="there is no such file"):
        read_tables([tmp_path / "gone.csv"], {})


def test_copies_and_constants_are_told():
    size = np.array([1e8, 1e8, 2e8, 4e8])
    runs = Runs.of({"N": size, "D": np.array([2e9, 2e9, 9e9, 1e9])}, np.array([3.0, 3.0, 2.8, 2.9]))
    assert check_runs(runs) == [
        "1 of 4 runs are copies of others, number by number: they count twice"
    ]
    fixed = Runs.of({"N": size, "D": np.full(4, 1e9)}, np.array([3.0, 3.1, 2.8, 2.9]))
    assert check_runs(fixed) == ["D is 1e+09 in all runs: nothing of it can be told"]
