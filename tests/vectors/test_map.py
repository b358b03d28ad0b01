"""Groups as points in a plane."""

from __future__ import annotations

import base64
import importlib.util
import itertools
import json
import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from chainkit.base.errors import MissingLibrary, Unsupported
from chainkit.vectors import cluster_map, clusters
from chainkit.vectors.layout import layout
from chainkit.vectors.map import POINTS_ON_A_PAGE, ClusterMap
from chainkit.vectors.spots import Spots

GROUPS = 6


@pytest.fixture(scope="module")
def many():
    """4,000 vectors around six centres: more than are laid out one by one."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, GROUPS, 4000)
    return (np.eye(GROUPS, 24)[truth] + rng.normal(0, 0.08, (4000, 24))).astype(np.float32), truth


def nearest_share(points, truth):
    """How often the nearest other point is of the same group."""
    distances = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return (truth[distances.argmin(axis=1)] == truth).mean()


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_neighbours_stay_neighbours(blobs, method):
    points = cluster_map(blobs[0], method=method).points
    assert nearest_share(points, blobs[1]) > (0.99 if method == "tsne" else 0.7)
    assert points.min() == 0
    assert points.max() == 1


def test_the_order_of_items_plays_no_part(blobs):
    turned = np.random.default_rng(0).permutation(len(blobs[0]))
    np.testing.assert_allclose(cluster_map(blobs[0][turned]).points, cluster_map(blobs[0]).points[turned], atol=1e-5)


@pytest.mark.slow
def test_many_items_go_between_those_that_are_laid_out(many):
    points = layout(many[0])
    assert points.shape == (4000, 2)
    assert nearest_share(points[:800], many[1][:800]) > 0.99


@pytest.mark.parametrize("vectors", [[[1.0, 0.0]], [[1.0, 0.0]] * 3, np.eye(2), np.eye(4), np.zeros((7, 3))])
def test_few_or_equal_items_have_places_too(vectors):
    points = cluster_map(vectors).points
    assert points.shape == (len(vectors), 2)
    assert np.isfinite(points).all()


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("html", b"<!doctype html>")]
)
def test_the_ending_chooses_the_format(blobs, tmp_path, ending, start):
    cluster_map(blobs[0], path=tmp_path / f"map.{ending}", method="pca", title="日本語 $x")
    assert (tmp_path / f"map.{ending}").read_bytes().startswith(start)


def test_other_endings_and_methods_are_named(blobs, tmp_path):
    with pytest.raises(Unsupported, match="a map can be written as .png, .svg, .pdf, .html, not as '.gif'"):
        cluster_map(blobs[0], path=tmp_path / "map.gif", method="pca")
    with pytest.raises(ValueError, match="method must be one of tsne, pca, umap, got 'mds'"):
        cluster_map(blobs[0], method="mds")


@pytest.mark.skipif(importlib.util.find_spec("umap") is not None, reason="umap-learn is here")
def test_a_missing_umap_is_named(blobs):
    with pytest.raises(MissingLibrary, match="umap"):
        cluster_map(blobs[0], method="umap")


def test_names_stand_apart_and_inside(blobs):
    texts = [f"{'abcd'[truth]} group number {row}" for row, truth in enumerate(blobs[1])]
    drawn = cluster_map(texts, blobs[0], method="pca")
    places = drawn.name_places()
    assert len(places) == 4
    assert all(-0.05 < value < 1.05 for place in places for value in place)
    for (x, y), (other, line) in itertools.combinations(places, 2):
        assert abs(y - line) > 0.029 or abs(x - other) > 0.1


def numbers(text):
    return np.frombuffer(base64.b64decode(text), "<u2").astype(int)


def test_a_page_holds_texts_points_and_groups(blobs):
    texts = [f"text {row} </script>" for row in range(60)]
    drawn = cluster_map(texts, blobs[0], title="<i>")
    html = drawn.html()
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])
    assert data["texts"] == texts
    np.testing.assert_allclose(numbers(data["points"]).reshape(-1, 2) / 65_535, drawn.points, atol=1e-4)
    np.testing.assert_array_equal(numbers(data["labels"]) - 1, drawn.clustering.labels)
    assert [group["size"] for group in data["groups"]] == [30, 15, 10, 5]
    assert data["note"] == ""
    assert not re.search(r"https?://|src=|@import|url\(", html)


def test_a_page_of_too_many_items_shows_a_share_of_each_group_and_says_so():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, POINTS_ON_A_PAGE + 5000)
    vectors = (np.eye(3, 8)[truth] + rng.normal(0, 0.05, (len(truth), 8))).astype(np.float32)
    found = clusters(vectors, k=3)
    html = cluster_map(found, method="pca").html()
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])
    assert len(numbers(data["points"])) == 2 * POINTS_ON_A_PAGE
    assert data["note"] == "50,000 of 55,000 items are shown."
    shares = np.bincount(numbers(data["labels"]) - 1) / np.bincount(found.labels)
    np.testing.assert_allclose(shares, 50 / 55, atol=0.01)
    assert len(html) < 5_000_000


def test_long_texts_are_cut_so_that_a_page_stays_small(blobs, monkeypatch):
    monkeypatch.setattr("chainkit.vectors.map.TEXT_BYTES", 3000)
    texts = [f"{row} " + "長い文章" * (row % 30) for row in range(60)]
    html = cluster_map(texts, blobs[0], method="pca").html()
    shown = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])["texts"]
    assert 2500 < sum(len(text.encode()) for text in shown) <= 3200
    assert all(
        text == whole or (text.endswith("…") and whole.startswith(text[:-1]))
        for text, whole in zip(shown, texts, strict=True)
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_name_stands_beside_the_points_of_its_group_and_covers_none(seed):
    """Points that reach the edges too: the picture leaves room for a name there."""
    rng = np.random.default_rng(seed)
    vectors = np.repeat(np.eye(3, 8), 3, axis=0) + rng.normal(0, 0.2, (9, 8))
    drawn = cluster_map(vectors, k=2, method="pca")
    for group, place in zip(drawn.clustering.groups, drawn.name_places(), strict=True):
        aside = np.abs(drawn.points - place)
        assert not ((aside[:, 0] < 0.03) & (aside[:, 1] < 0.015)).any()  # "group 0" is 0.06 wide and a line 0.03 high
        own = drawn.points[list(group.members)]
        assert (own.min(axis=0) - 0.1 < place).all()
        assert (place < own.max(axis=0) + 0.1).all()


def test_names_among_many_points_stay_on_their_own():
    rng = np.random.default_rng(3)
    middles = np.array([[0.2, 0.5], [0.5, 0.5], [0.8, 0.5]])
    points = np.concatenate([middle + rng.uniform(-0.13, 0.13, (3000, 2)) for middle in middles])
    spots = Spots(points, 0.05, 0.03)
    for number, middle in enumerate(middles):
        x, y = spots.take(points[3000 * number : 3000 * (number + 1)], 0.2)
        assert abs(x - middle[0]) < 0.05
        assert 0.12 < abs(y - middle[1]) < 0.25


def test_names_of_many_groups_are_short_and_cover_no_point():
    """Twenty groups, each of a few tight spots, with names of three long keywords."""
    rng = np.random.default_rng(5)
    middles = np.stack(np.meshgrid(np.linspace(0.1, 0.9, 4), np.linspace(0.1, 0.9, 5)), axis=-1).reshape(-1, 2)
    truth = np.repeat(np.arange(20), 30)
    texts = [
        f"keyword{'abcdefghijklmnopqrst'[group]} second{group:02}x third{group:02}x {row}"
        for row, group in enumerate(truth)
    ]
    found = clusters(texts, np.eye(20)[truth] + rng.normal(0, 0.01, (600, 20)), k=20)
    points = (middles[found.labels] + rng.integers(-2, 3, (600, 2)) * 0.02).astype(np.float32)
    drawn = ClusterMap(clustering=found, points=points)
    data = json.loads(re.search(r'id="data">(.*?)</script>', drawn.html(), re.DOTALL)[1])
    for group, (x, y) in zip(data["groups"], drawn.name_places(), strict=True):
        assert len(group["name_on_map"]) <= 20 < len(group["name"])
        aside = np.abs(points - (x, y))
        wide = len(group["name_on_map"]) * 0.0083
        assert not ((aside[:, 0] < wide / 2) & (aside[:, 1] < 0.015)).any()


def test_names_take_the_weight_that_all_their_fonts_have(blobs, caplog):
    for word, weight in (("weather", "bold"), ("天気", "normal")):
        texts = [f"{'abcd'[truth]}x {word} {row}" for row, truth in enumerate(blobs[1])]
        figure = cluster_map(texts, blobs[0], method="pca", title=word).figure()
        FigureCanvasAgg(figure).draw()
        assert {text.get_fontweight() for text in figure.axes[0].texts} == {weight}
    assert not [line for line in caplog.messages if "weight" in line]


def test_a_long_title_makes_lines(blobs):
    title = "Many points and what they mean " * 8
    drawn_title = cluster_map(blobs[0], method="pca", title=title).figure().axes[0].get_title(loc="left")
    assert drawn_title.split() == title.split()
    assert max(map(len, drawn_title.split("\n"))) <= 100
