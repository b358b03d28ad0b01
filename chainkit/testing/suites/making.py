"""What holds for a model that is made and not asked: it can be copied and described, and shows no secret."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator

import pytest
from langchain_core.load import dumpd, dumps

from chainkit.testing.suites.model import Model, ModelTests


class MakingTests(ModelTests):
    """A model can be described, copied and bound."""

    def test_it_says_what_kind_it_is(self, model: Model) -> None:
        """Traces and caches know models by their type."""
        kind = getattr(model, "_llm_type", None)
        assert isinstance(kind, str), "_llm_type is not a text"
        assert kind

    def test_what_identifies_it_is_plain(self, model: Model) -> None:
        """Identifying parameters, part of a cache's key, can be written as JSON and stay the same."""
        parameters = getattr(model, "_identifying_params", {})
        assert json.loads(json.dumps(dict(parameters), default=str)) is not None
        assert dict(getattr(self.make(), "_identifying_params", {})) == dict(parameters)

    def test_a_copy_is_equal(self, model: Model) -> None:
        """Shallow and deep copies have the same settings."""
        for same in (copy.copy(model), copy.deepcopy(model)):
            assert type(same) is type(model)
            assert getattr(same, "_identifying_params", {}) == getattr(model, "_identifying_params", {})

    def test_options_can_be_bound(self, model: Model) -> None:
        """`bind` and `with_config` make Runnables of it."""
        assert model.bind(stop=["x"]).kwargs == {"stop": ["x"]}  # type: ignore[attr-defined]
        assert model.with_config(tags=["x"]).config["tags"] == ["x"]  # type: ignore[attr-defined]

    def test_tokens_can_be_counted(self, model: Model) -> None:
        """A longer text has more."""
        if not self.has_tokenizer:
            pytest.skip("the model cannot count tokens itself (has_tokenizer is False)")
        assert 0 < model.get_num_tokens("one") < model.get_num_tokens("one two three four five six")


class SecretTests(ModelTests):
    """A secret is nowhere to be seen."""

    def test_no_secret_is_shown(self) -> None:
        """Neither `repr` nor `str` nor what identifies the model shows one."""
        self._absent(self._shown)

    def test_no_secret_is_serialised(self) -> None:
        """langchain-core's serialisation names a secret, and does not hold it."""
        self._absent(self._serialised)

    def test_no_secret_is_pickled(self) -> None:
        """A pickle holds no secret; to refuse to be pickled is fine too."""
        self._absent(self._pickled)

    def _absent(self, texts: object) -> None:
        if not self.secrets:
            pytest.skip("the model has no secrets (secrets)")
        model = self.make(**self.secrets)
        for place, text in texts(model):  # type: ignore[operator]
            for name, secret in self.secrets.items():
                assert secret not in text, f"{place} shows {name}"

    def _shown(self, model: Model) -> Iterator[tuple[str, str]]:
        yield "repr", repr(model)
        yield "str", str(model)
        yield "format", f"{model}"
        yield "repr of a binding", repr(model.bind(stop=["x"]))
        yield "_identifying_params", repr(getattr(model, "_identifying_params", {}))
        yield "get_graph", repr(model.get_graph())
        yield "the key of a cache", str(getattr(model, "_get_llm_string", lambda: "")())

    def _serialised(self, model: Model) -> Iterator[tuple[str, str]]:
        yield "dumps", dumps(model)
        yield "dumpd", repr(dumpd(model))
        yield "model_dump_json", model.model_dump_json(fallback=repr)

    def _pickled(self, model: Model) -> Iterator[tuple[str, str]]:
        try:
            content = pickle.dumps(model)
        except (TypeError, pickle.PicklingError, AttributeError):
            return
        yield "a pickle", content.decode("latin-1")
