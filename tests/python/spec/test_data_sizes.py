"""Sizes and rates as people write them."""

from __future__ import annotations

import pytest

from gpubench.errors import InputError
from gpubench.spec.data_sizes import parse_bytes, parse_bytes_per_second


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8e9), ("8 gb", 8e9), ("1.5MiB", 1.5 * 2**20), ("512kB", 512e3), ("100B", 100)],
)
def test_sizes(text: str, size: float) -> None:
    assert parse_bytes(text, "--image-size") == size


@pytest.mark.parametrize("text", ["8", "8G", "-8GB", "0GB", "GB", "", "8GB/s", "1e400GB"])
def test_what_is_no_size_is_refused_by_its_flag(text: str) -> None:
    with pytest.raises(InputError, match=r"--image-size .* write it like 8GB"):
        parse_bytes(text, "--image-size")


def test_rates() -> None:
    assert parse_bytes_per_second("200MB/s", "--pull-rate") == 200e6
    for text in ("200MB", "200MB/h", "200/s", "0MB/s"):
        with pytest.raises(InputError, match=rf"--pull-rate '{text}' is not a rate"):
            parse_bytes_per_second(text, "--pull-rate")
