"""Colours of groups."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from chainkit.vectors import clusters, heatmap
from chainkit.vectors.colours import OUTLIER_COLOUR, group_colour


def lab(colour: str) -> np.ndarray:
    """CIELAB of a colour of sRGB, white point D65."""
    share = np.array(list(bytes.fromhex(colour[1:]))) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    mix = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.95]])
    x, y, z = np.cbrt(np.maximum(mix @ linear / (0.95047, 1, 1.08883), 0.0089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_forty_groups_have_forty_colours_that_the_eye_tells_apart():
    colours = [OUTLIER_COLOUR, *map(group_colour, range(40))]
    assert min(np.linalg.norm(lab(a) - lab(b)) for a, b in itertools.combinations(colours, 2)) > 20


@pytest.mark.parametrize("count", [12, 40])
def test_neighbouring_groups_of_a_picture_never_share_a_colour(count):
    rng = np.random.default_rng(count)
    centres = rng.normal(size=(count, 64))
    found = clusters(np.repeat(centres, 3, axis=0) + 0.05 * rng.normal(size=(3 * count, 64)), k=count)
    blocks = [group_colour(group) for _, _, group in heatmap(found).blocks]
    assert len(blocks) == count
    assert all(above != below for above, below in itertools.pairwise(blocks))
