"""Sizes in other quantizations, against those that were published and against tensors that llama.cpp stored."""

from __future__ import annotations

import pytest

from chainkit.sizing.quantization import LADDER, MIXTURES, quantized
from chainkit.sizing.shapes import config_model
from tests.sizing.published import LLAMA, PUBLISHED


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Llama-2-7B", 6_738_415_616),
        ("Llama-2-13B", 13_015_864_320),
        ("SOLAR-10.7B", 10_731_524_096),
        ("BLOOM-176B", 176_247_271_424),
    ],
)
def test_published_models_have_their_published_number_of_parameters(name: str, parameters: int) -> None:
    assert config_model(name, PUBLISHED[name]).parameters == parameters


@pytest.mark.parametrize(
    ("name", "kind", "gigabytes"),
    [
        ("Llama-2-7B", "Q3_K_M", 3.30), ("Llama-2-7B", "Q4_0", 3.83), ("Llama-2-7B", "Q4_K_S", 3.86),
        ("Llama-2-7B", "q4_k_m", 4.08), ("Llama-2-7B", "Q5_0", 4.65), ("Llama-2-7B", "Q5_K_M", 4.78),
        ("Llama-2-7B", "Q6_K", 5.53), ("Llama-2-7B", "Q8_0", 7.16), ("Llama-2-13B", "Q4_K_M", 7.87),
        ("Llama-2-13B", "Q8_0", 13.83), ("SOLAR-10.7B", "Q4_K_M", 6.46), ("SOLAR-10.7B", "Q8_0", 11.40),
    ],
)  # fmt: skip
def test_quantized_sizes_are_those_of_the_published_files(name: str, kind: str, gigabytes: float) -> None:
    found = quantized(config_model(name, PUBLISHED[name]), kind)
    assert found.weight_bytes / 1e9 == pytest.approx(gigabytes, abs=0.006)


def test_the_layers_that_get_more_bits_are_those_of_llama_cpp() -> None:
    found = quantized(config_model("m", LLAMA), "Q4_K_M")
    finer = {int(w.name.split(".")[2]) for w in found.weights if w.type == "Q6_K" and "down_proj" in w.name}
    assert finer == {0, 1, 2, 3, *range(6, 28, 3), 28, 29, 30, 31}


def test_rows_that_are_no_whole_blocks_get_a_type_that_fits() -> None:
    odd = config_model("odd", LLAMA | {"hidden_size": 4096 + 32, "num_attention_heads": 43, "head_dim": 96})
    for kind in MIXTURES:
        assert all(weight.nbytes > 0 for weight in quantized(odd, kind).weights)
    assert "Q5_0" in quantized(odd, "Q4_K_M").by_type


def test_a_tied_table_of_tokens_is_kept_finer_as_the_output_is() -> None:
    tied = quantized(config_model("tied", LLAMA | {"tie_word_embeddings": True}), "Q4_0")
    table = next(weight for weight in tied.weights if "embed" in weight.name)
    assert table.type == "Q6_K"


def test_the_ladder_goes_down() -> None:
    model = config_model("m", LLAMA)
    sizes = [quantized(model, kind).weight_bytes for kind in LADDER]
    assert sizes == sorted(sizes, reverse=True)


def test_an_unknown_quantization_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no quantization 'Q4'; known: F32, F16"):
        quantized(config_model("m", LLAMA), "Q4")
