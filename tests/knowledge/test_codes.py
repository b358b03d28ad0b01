from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.backends.fake import FakeEmbeddings
from chainkit.knowledge import Index
from chainkit.knowledge.index import codes
from chainkit.knowledge.index.codes import best, packed, unpacked
from chainkit.knowledge.index.encoder import unit

RNG = np.random.default_rng(3)


class Given(FakeEmbeddings):
    """The text is the number of a row of a matrix."""

    def embed_array(self, texts):
        return np.array([ROWS[int(text)] if text.isdecimal() else np.ones(64) for text in texts], np.float32)

    def embed_query(self, text):
        return self.embed_array([text])[0].tolist()


ROWS = RNG.normal(size=(5_000, 64)).astype(np.float32)


@pytest.mark.parametrize("fast", [True, False])
def test_the_nearest_are_those_of_an_exact_search(monkeypatch, fast):
    if fast:
        pytest.importorskip("simsimd")
    else:
        monkeypatch.setattr(codes, "_simsimd", lambda: None)
    exact = unit(ROWS, len(ROWS))
    with Index(None, Given(dimensions=64)) as index:
        index.add_texts([str(n) for n in range(len(ROWS))], ids=[str(n) for n in range(len(ROWS))])
        for query in RNG.normal(size=(20, 64)).astype(np.float32):
            hits = index.nearest(query.tolist(), 10)
            cosines = exact @ (query / np.linalg.norm(query))
            assert [int(hit.passage.path) for hit in hits] == list(np.argsort(-cosines)[:10])
            np.testing.assert_allclose([hit.meaning for hit in hits], np.sort(cosines)[::-1][:10], atol=1e-6)


def test_codes_err_by_less_than_a_hundredth_and_vectors_of_zeros_stay_zero():
    exact = unit(np.vstack([ROWS[:500], np.zeros((1, 64))]), 501)
    blobs = [packed([row.tobytes() for row in part]) for part in (exact[:300], exact[300:])]
    scales, codes = unpacked(blobs, 501, 64)
    assert np.abs(codes * scales[:, None] @ exact[7] - exact @ exact[7]).max() < 0.01
    assert not codes[500].any()


def test_a_document_of_more_runs_than_one_is_found_and_removed_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("chainkit.knowledge.index.store._VECTORS_AT_ONCE", 2)
    (tmp_path / "a.txt").write_text("\n\n".join(f"Sentence {n} of some. " * 12 for n in range(7)))
    with Index(None, FakeEmbeddings()) as index:
        index.add(tmp_path)
        view = index._lookup._fresh()
        assert len(index) == len(view.ids) > 4
        assert len(set(view.runs)) == (len(view.ids) + 1) // 2
        (tmp_path / "a.txt").unlink()
        index.update()
        assert index.find("sentence") == []
        assert not len(index._lookup._fresh().ids)


@given(st.lists(st.integers(-5, 5), max_size=900), st.integers(0, 12))
def test_best_gives_the_largest_first(values, count):
    scores = np.array(values, np.float32)
    places = best(scores, count)
    assert len(places) == len(set(places)) == min(count, len(values))
    assert [values[at] for at in places] == sorted(values, reverse=True)[:count]
