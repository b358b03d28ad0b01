"""Colours of groups and of similarities, the same in every kind of picture."""

from __future__ import annotations

OUTLIER_COLOUR = "#777777"

# Dark enough to be read as text on white. After the first ten, each is the colour of sRGB farthest in CIELAB from all
# before it and from grey, among those with a contrast of 3.1 to white; no two are nearer than 23 units (CIE76).
_GROUPS = (
    "#195f90", "#cc660b", "#238023", "#ab1f20", "#765297", "#70453c", "#b65f9b", "#5254c8", "#96971b", "#1298a6",
    "#003010", "#f83880", "#580038", "#880890", "#585008", "#d07860", "#202830", "#709868", "#0090f8", "#101868",
    "#783800", "#c070e0", "#f050b8", "#600010", "#b04058", "#b08030", "#a80068", "#085858", "#a088b0", "#a08860",
    "#006840", "#f86040", "#002858", "#60a000", "#302808", "#00a068", "#c07888", "#0098d8", "#583858", "#506040",
)  # fmt: skip

SIMILARITY: tuple[tuple[int, int, int], ...] = (
    (255, 255, 217),
    (237, 248, 177),
    (199, 233, 180),
    (127, 205, 187),
    (65, 182, 196),
    (29, 145, 192),
    (34, 94, 168),
    (37, 52, 148),
    (8, 29, 88),
)
"""From unlike to alike, as red, green and blue: the scheme YlGnBu of ColorBrewer (Cynthia Brewer)."""


def group_colour(group: int) -> str:
    """The colour of a group, its own for each of the first 40, which then take turns; of an outlier, grey.

    >>> group_colour(0), group_colour(10), group_colour(-1)
    ('#195f90', '#003010', '#777777')
    """
    return OUTLIER_COLOUR if group < 0 else _GROUPS[group % len(_GROUPS)]


def similarity_colour(share: float) -> tuple[int, int, int]:
    """Red, green and blue of a similarity between the least (0) and the greatest (1) shown.

    >>> similarity_colour(0.0), similarity_colour(2.0)
    ((255, 255, 217), (8, 29, 88))
    """
    place = min(1.0, max(0.0, share)) * (len(SIMILARITY) - 1)
    low = min(int(place), len(SIMILARITY) - 2)
    red, green, blue = (
        round(below + (above - below) * (place - low))
        for below, above in zip(SIMILARITY[low], SIMILARITY[low + 1], strict=True)
    )
    return red, green, blue
