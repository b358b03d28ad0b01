import pytest

from chainkit.base.errors import SpecError
from chainkit.hub.names import HubName, is_hub_name


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("org/repo", ("org/repo", "", "main")),
        (" TheBloke/Llama-2-7B-Chat-GGUF:Q4_K_M ", ("TheBloke/Llama-2-7B-Chat-GGUF", "Q4_K_M", "main")),
        ("org/repo@v1.0:sub/file.gguf", ("org/repo", "sub/file.gguf", "v1.0")),
    ],
)
def test_a_name_is_a_repository_a_revision_and_a_pick(text: str, parts: tuple[str, str, str]) -> None:
    name = HubName.parse(text)
    assert (name.repo, name.pick, name.revision) == parts
    assert HubName.parse(str(name)) == name


@pytest.mark.parametrize("text", ["models/llama.gguf", "old/x.bin", "org/config.json"])
def test_what_ends_as_a_file_does_is_a_file(text: str) -> None:
    assert not is_hub_name(text)
    assert is_hub_name(f"org/repo:{text}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "repo",
        "/repo",
        "org/",
        "a/b/c",
        "../etc",
        "org/..",
        "org/re po",
        "./a/b",
        "~/a",
        "org/repo:../x",
        "org/repo:/x",
    ],
)
def test_what_is_no_name_is_refused_and_leaves_no_folder(text: str) -> None:
    assert not is_hub_name(text)
    with pytest.raises(SpecError):
        HubName.parse(text)
