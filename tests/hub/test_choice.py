import pytest

from chainkit.base.errors import SpecError
from chainkit.hub.choice import HubFile, choices, chosen, quantization
from chainkit.hub.names import HubName

GB = 10**9
BLOKE = [
    HubFile("README.md", 1000),
    HubFile("config.json", 29),
    HubFile("llama-2-7b-chat.Q2_K.gguf", 2_830_000_000),
    HubFile("llama-2-7b-chat.Q4_K_M.gguf", 4_080_000_000),
    HubFile("llama-2-7b-chat.Q8_0.gguf", 7_160_000_000),
]
PARTS = [HubFile(f"q8/big-Q8_0-{part:05d}-of-00003.gguf", 5 * GB) for part in (3, 1, 2)]


def pick(files: list[HubFile], text: str) -> list[str]:
    return [file.name for file in chosen(files, HubName.parse(text)).files]


@pytest.mark.parametrize("text", ["Q4_K_M", "q4_k_m", "llama-2-7b-chat.Q4_K_M.gguf", "llama-2-7b-chat.Q4_K_M"])
def test_a_quantization_or_a_file_picks_one(text: str) -> None:
    assert pick(BLOKE, f"a/b:{text}") == ["llama-2-7b-chat.Q4_K_M.gguf"]


def test_several_models_are_listed_with_their_sizes() -> None:
    with pytest.raises(
        SpecError, match=r"3 models.*a/b:Q4_K_M.*Q2_K \(2\.83 GB\), Q4_K_M \(4\.08 GB\), Q8_0 \(7\.16 GB\)"
    ):
        pick(BLOKE, "a/b")


def test_a_quantization_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="no 'Q4_K_N'; did you mean 'Q4_K_M'"):
        pick(BLOKE, "a/b:Q4_K_N")


def test_all_parts_of_a_model_come_together_and_in_order() -> None:
    assert pick(PARTS, "a/b") == [f"q8/big-Q8_0-{part:05d}-of-00003.gguf" for part in (1, 2, 3)]
    assert pick([*BLOKE[:4], *PARTS], "a/b:Q8_0") == pick(PARTS, "a/b")


def test_a_model_that_lacks_a_part_is_refused() -> None:
    with pytest.raises(SpecError, match="one of 3 parts, and the repository has 2"):
        pick(PARTS[:2], "a/b")


def test_two_models_of_one_quantization_are_told_apart_by_their_files() -> None:
    two = [HubFile("small.Q4_0.gguf", 1 * GB), HubFile("large.Q4_0.gguf", 2 * GB)]
    assert [choice.label for choice in choices(two)] == ["small.Q4_0.gguf", "large.Q4_0.gguf"]
    with pytest.raises(SpecError, match=r"2 models that are Q4_0.*small\.Q4_0\.gguf"):
        pick(two, "a/b:Q4_0")
    assert pick(two, "a/b:large.Q4_0.gguf") == ["large.Q4_0.gguf"]


def test_what_belongs_to_a_picture_reader_or_a_quantizer_is_no_model() -> None:
    assert pick([HubFile("m.Q4_0.gguf", 1), HubFile("mmproj-m-f16.gguf", 1), HubFile("imatrix.gguf", 1)], "a/b") == [
        "m.Q4_0.gguf"
    ]


def test_a_folder_of_safetensors_comes_without_other_weights_and_code() -> None:
    names = [
        "config.json",
        "tokenizer.json",
        "vocab.txt",
        "model.safetensors.index.json",
        "LICENSE",
        "chat_template.jinja",
    ]
    weights = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    others = ["consolidated.safetensors", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json",
              "modeling_x.py", "original/params.json", "onnx/model.onnx", "tf_model.h5"]  # fmt: skip
    files = [HubFile(name, 10) for name in names + weights + others]
    assert sorted(pick(files, "a/b")) == sorted(names + weights)


def test_pickled_weights_are_refused_with_the_reason() -> None:
    with pytest.raises(SpecError, match="pickle files"):
        pick([HubFile("config.json", 1), HubFile("pytorch_model.bin", 1)], "a/b")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Qwen2.5-0.5B-Instruct-fp16", "F16"), ("m-IQ4_XS", "IQ4_XS"), ("m.IQ2_XXS", "IQ2_XXS"),
        ("gpt-oss-mxfp4", "MXFP4"),
        ("m-UD-Q4_K_XL", "UD-Q4_K_XL"), ("m-bf16", "BF16"), ("llama-q8", ""), ("m-Q3_K", "Q3_K"),
    ],
)  # fmt: skip
def test_quantizations_are_read_off_the_names_in_use(name: str, label: str) -> None:
    assert quantization(name) == label
