"""Whether there is room for a transformers model; asked before torch takes memory for it."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from chainkit.base.errors import ModelFileError
from chainkit.sizing.plan import Use, plan
from chainkit.sizing.room import require_room
from chainkit.sizing.transformers import folder_model


def check_room(source: str, *, dtype: str = "auto", revision: str | None = None) -> None:
    """Refuse a model that does not fit in the memory that is free now.

    What cannot be reckoned is let through: pickled weights, and a model that has yet to be downloaded.

    Raises:
        NotEnoughMemory: It does not fit.
    """
    folder = Path(source)
    if not folder.is_dir():
        cached = try_to_load_from_cache(source, "config.json", revision=revision)
        if not isinstance(cached, str):
            return
        folder = Path(cached).parent
    try:
        planned = plan(folder_model(folder, dtype), Use(context=_SHORT))
    except ModelFileError:
        return
    require_room(planned)


_SHORT = 512  # the cache grows with the text, so only a short one is sure to be needed
