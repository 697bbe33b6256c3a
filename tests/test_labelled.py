import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.data.labelled import LabelledImages, Texts

# Names of files as Python reads them: bytes that are no UTF-8 become lone surrogates.
texts = st.text(st.characters(codec="utf-8"), max_size=6) | st.binary(max_size=6).map(
    lambda name: name.decode("utf-8", "surrogateescape")
)
lists = st.lists(texts, max_size=8)
bounds = st.none() | st.integers(-10, 10)


@given(lists)
@example(["a", "caf\udce9.jpg", "é"])  # b"caf\xe9.jpg"
def test_texts_are_a_sequence_of_their_strings(strings):
    stored = Texts(iter(strings))
    assert list(stored) == strings
    assert list(reversed(stored)) == strings[::-1]
    assert list(pickle.loads(pickle.dumps(stored))) == strings
    assert len(stored) == len(strings)
    assert bool(stored) == bool(strings)
    for row, text in enumerate(strings):
        assert stored[row] == stored[np.int64(row)] == stored[row - len(strings)] == text
        assert text in stored
        assert stored.index(text) == strings.index(text)
        assert stored.count(text) == strings.count(text)
    for row in (len(strings), -len(strings) - 1):
        with pytest.raises(IndexError):
            stored[row]
    assert "not among them" not in stored
    assert 7 not in stored


@given(lists, st.slices(8) | st.builds(slice, bounds, bounds, st.sampled_from([None, 1, 2, -1])))
def test_slices_of_texts_are_texts(strings, part):
    sliced = Texts(strings)[part]
    assert isinstance(sliced, Texts)
    assert list(sliced) == strings[part]


def test_texts_take_the_memory_of_their_bytes_however_long_one_is():
    strings = [f"photos/{number:06}-é.jpg" for number in range(20_000)] + ["x" * 100_000]
    content = sum(len(text.encode()) for text in strings)
    tracemalloc.start()
    try:
        stored = Texts(strings)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(stored) == len(strings)
    assert taken < content + 8 * len(strings) + 10_000  # and a number of 8 bytes each


def test_a_split_is_as_long_as_its_ids_and_cannot_be_changed():
    data = LabelledImages([], ["cat"], np.zeros((3, 1), np.int8), Texts("abc"))
    assert len(data) == 3
    assert (data.true_targets, data.missing) == (None, ())
    with pytest.raises(AttributeError):
        data.ids = []
