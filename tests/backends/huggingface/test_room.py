"""Loading asks for room in memory first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chainkit.backends.huggingface.loading import Loading, load
from chainkit.backends.huggingface.models import HuggingFaceModel
from chainkit.base.errors import NotEnoughMemory


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainkit.sizing.room.available_memory", lambda: 1000)


@pytest.mark.usefixtures("full")
def test_a_model_without_room_is_refused_and_force_loads_it(folder: Callable[[str], str]) -> None:
    where = folder("gpt2")
    with pytest.raises(NotEnoughMemory, match=r"gpt2 needs 0\.\d\d GB .* 0\.00 GB of memory are free"):
        load(where, Loading(dtype="float16"))
    assert load(where, Loading(dtype="float16", force=True))


@pytest.mark.usefixtures("full")
def test_the_option_reaches_the_loader_and_a_loaded_model_is_shared(folder: Callable[[str], str]) -> None:
    forced = HuggingFaceModel(model=folder("mistral"), dtype="float16", force=True)
    loaded = forced.loaded
    assert HuggingFaceModel(model=folder("mistral"), dtype="float16").loaded is loaded  # nothing is added


@pytest.mark.usefixtures("full")
def test_what_is_not_here_yet_is_not_judged() -> None:
    from chainkit.backends.huggingface.room import check_room

    check_room("nobody/nothing")
