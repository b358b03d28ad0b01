"""Texts embedded in batches, with a bar that says how far it is."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from chainkit.base.errors import BadVectors
from chainkit.cli.screen import waiting

BATCH = 64

Array = np.ndarray[Any, np.dtype[np.float32]]


def embedded(
    texts: Sequence[str], spec: str, batch_size: int = BATCH, done: int = 0, *, bar: bool = True
) -> Generator[Array, None, None]:
    """The vectors of the texts after the first `done`, float32, batch by batch, each of shape (batch, D).

    Close it if it is not read to its end, so that the bar goes away.

    Raises:
        BadVectors: The model gave vectors of different lengths, or not one for each text.
    """
    from chainkit.registry import embeddings

    with waiting("loading the model", len(texts), shown=bar) as progress:
        model = embeddings(spec)
        for start in range(done, len(texts), batch_size):
            progress.to(start, doing="embedding")
            batch = list(texts[start : start + batch_size])
            vectors = checked(model.embed_documents(batch))
            if len(vectors) != len(batch):
                raise BadVectors(f"the model gave {len(vectors)} vectors for {len(batch)} texts")
            yield vectors


def embedded_at_once(texts: Sequence[str], spec: str) -> Array:
    """The vectors of all texts, float32, shape (N, D); a text that occurs twice is embedded once."""
    unique = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    vectors = np.concatenate(list(embedded(list(unique), spec)))
    return vectors[[unique[text] for text in texts]]


def checked(vectors: Sequence[Sequence[float]]) -> Array:
    """Vectors as float32, shape (N, D).

    Raises:
        BadVectors: They differ in length, have none, or hold a number that is not finite.
    """
    widths = sorted({len(vector) for vector in vectors})
    if len(widths) != 1 or not widths[0]:
        raise BadVectors(f"the model gave vectors of different lengths: {', '.join(map(str, widths))}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
        array = np.asarray(vectors, dtype="<f4")
    if not np.isfinite(array).all():
        raise BadVectors("the model gave a vector with a number that is not finite")
    return array
