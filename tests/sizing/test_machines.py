import pytest

from chainkit.sizing.machines import GIB, PIS, amount, machine


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("8GB", 8 * 10**9), ("8 gb", 8 * 10**9), ("7.5GiB", 15 * GIB // 2), ("512m", 512 * 10**6), ("1000", 1000)],
)
def test_amounts_are_read_as_they_are_written(text: str, nbytes: int) -> None:
    assert amount(text) == nbytes


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "8 XB", "1e9", "nan"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount of memory"):
        amount(text)


def test_machines_are_found_by_name_and_by_size() -> None:
    assert machine("PI5_8GB") is PIS["pi5-8gb"]
    assert machine("this").here
    assert machine("4GB").ram == 4 * 10**9
    with pytest.raises(ValueError, match="did you mean 'pi5-8gb'"):
        machine("pi5-8g")


def test_a_system_keeps_its_share_of_the_memory() -> None:
    assert PIS["pi5-8gb"].usable == 7 * GIB
    assert machine("100MB").usable == 0


def test_a_pi_4_copies_nothing_and_a_pi_5_most_quantized_weights() -> None:
    assert PIS["pi4-8gb"].repacked == frozenset()
    assert {"Q4_0", "Q4_K", "Q8_0"} <= PIS["pi5-8gb"].repacked
