"""A draft model makes a text come in fewer passes, and changes nothing of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import chainkit
from chainkit.backends.llama_cpp.models import GGUFChat, GGUFModel
from chainkit.base.errors import ModelFileError, Unsupported
from chainkit.base.generation import GenerationRequest
from chainkit.decoding.constraints import regex
from chainkit.decoding.sampler import distribution
from tests.backends.llama_cpp import tiny
from tests.backends.session_contract import SessionContract

EXACT = {"kv_type": tiny.KV, "flash_attention": False, "n_threads": 1, "max_tokens": 24}
PROMPTS = ["the cat", "What is the colour of the house?", "12 and 30"]


def pair(path, draft, **options):
    """The model alone, and with a draft model."""
    return GGUFModel(model=str(path), **EXACT | options), GGUFModel(
        model=str(path), draft=str(draft), **EXACT | options
    )


class TestSession(SessionContract):
    limit = 128

    @pytest.fixture(autouse=True)
    def _models(self, bpe_model):
        self._model = GGUFModel(model=str(bpe_model), draft=str(bpe_model), context_length=128, **EXACT)
        self._other = GGUFModel(model=str(bpe_model), context_length=128, n_batch=64, **EXACT)
        yield
        self._model.unload()
        self._other.unload()

    def make(self):
        return self._model.session()

    def alone(self):
        self._other.unload()
        return self._other.session()


@pytest.fixture(scope="module")
def near(models):
    """Nearly the weights of `bpe_model`: a draft that is often right."""
    random = np.random.default_rng(5)
    exact = tiny.weights(len(tiny.bpe().tokens))
    noisy = {name: m + 0.1 * m.std() * random.standard_normal(m.shape).astype(np.float32) for name, m in exact.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "weights", lambda *_args: noisy)
        return tiny.write_model(models / "near.gguf")


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0, "seed": 3}, {"repeat_penalty": 1.3}])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_text_is_that_of_the_model_alone_token_for_token(bpe_model, near, prompt, settings):
    alone, drafted = pair(bpe_model, near)
    sampling = GenerationRequest(max_tokens=40, **settings)
    wanted, found = (model.session(prompt) for model in (alone, drafted))
    assert [p.tokens for p in found.generate(sampling)] == [p.tokens for p in wanted.generate(sampling)]
    assert 0 < found.counters.accepted <= found.counters.drafted
    assert found.counters.passes < wanted.counters.passes


def test_a_draft_that_is_always_wrong_changes_nothing(bpe_model, models):
    other = tiny.write_model(models / "other-seed.gguf", seed=9)
    alone, drafted = pair(bpe_model, other)
    for prompt in PROMPTS:
        assert drafted.invoke(prompt) == alone.invoke(prompt)


def test_an_equal_draft_is_accepted_and_saves_passes(bpe_model):
    alone, drafted = pair(bpe_model, bpe_model)
    wanted, found = alone.session("the cat"), drafted.session("the cat")
    sampling = GenerationRequest(max_tokens=20)
    assert [p.text for p in found.generate(sampling)] == [p.text for p in wanted.generate(sampling)]
    assert found.counters.accepted <= found.counters.drafted
    assert found.counters.passes <= 0.6 * wanted.counters.passes


def test_drawn_tokens_have_the_distribution_of_the_model(bpe_model, near):
    chisquare = pytest.importorskip("scipy.stats").chisquare
    alone, drafted = pair(bpe_model, near)
    session, pairs = drafted.session("the cat"), Counter[tuple[int, ...]]()
    length = len(session.tokens)
    settings = {"temperature": 3.0, "top_k": 5, "max_tokens": 2}
    for seed in range(800):
        list(session.generate(GenerationRequest(**settings, seed=seed)))
        pairs[tuple(session.tokens[length:])] += 1
        session.rewind(length)
    assert session.counters.accepted > 100
    first = Counter(pair_[0] for pair_ in pairs.elements()).most_common(1)[0][0]
    for before, counts in (((), Counter(pair_[0] for pair_ in pairs.elements())), ((first,), _second(pairs, first))):
        reference = alone.session("the cat").append(list(before))
        candidates, chances = distribution(reference.logits(), GenerationRequest(**settings))
        total = counts.total()
        assert total == sum(counts[int(token)] for token in candidates) > 100
        observed = [counts[int(token)] for token in candidates]
        assert chisquare(observed, [chance * total for chance in chances]).pvalue > 1e-3


def _second(pairs, first):
    return Counter(pair_[1] for pair_ in pairs.elements() if pair_[0] == first and len(pair_) == 2)


def test_stops_constraints_and_streams_are_the_same(bpe_model, near):
    alone, drafted = pair(bpe_model, near)
    text = alone.invoke(PROMPTS[1])
    stop = text[len(text) // 2 :][:3]
    assert "".join(drafted.stream(PROMPTS[1], stop=[stop])) == alone.invoke(PROMPTS[1], stop=[stop])
    pattern = regex("[a-z]{3,9} (is|was) [0-9]{2}")
    assert drafted.invoke("the", constraint=pattern) == alone.invoke("the", constraint=pattern)
    assert drafted.batch(PROMPTS) == [alone.invoke(prompt) for prompt in PROMPTS]


def test_usage_says_how_many_drafts_were_taken(bpe_model, near):
    chat = chainkit.chat_model(f"gguf:{bpe_model}?draft={near}&draft_tokens=3&max_tokens=20")
    assert isinstance(chat, GGUFChat)
    usage = chat.invoke("What is the colour of the house?").usage_metadata
    details = usage["output_token_details"]
    assert details["accepted_prediction"] > 0
    assert details["accepted_prediction"] <= usage["output_tokens"]
    assert details["rejected_prediction"] >= 0


def test_a_context_that_fills_up_ends_as_without_a_draft(bpe_model):
    alone, drafted = (model.session("the cat") for model in pair(bpe_model, bpe_model, context_length=32))
    sampling = GenerationRequest(max_tokens=None)
    wanted = list(alone.generate(sampling))
    assert [p.tokens for p in drafted.generate(sampling)] == [p.tokens for p in wanted]


def test_a_draft_with_other_tokens_is_refused(bpe_model, spm_model):
    with pytest.raises(Unsupported, match="same family"):
        GGUFModel(model=str(bpe_model), draft=str(spm_model)).invoke("the")
    with pytest.raises(ModelFileError, match="no such file"):
        GGUFModel(model=str(bpe_model), draft="missing.gguf").invoke("the")
