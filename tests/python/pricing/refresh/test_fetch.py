"""Downloads: what is tried again, what is not, and answers that break off."""

from __future__ import annotations

import pytest
from price_server import Reply, serve

from gpubench.errors import GpubenchError
from gpubench.pricing.refresh.fetch import Downloads

GOOD = Reply(b'{"Items": []}')


def downloads(waits: list[float]) -> Downloads:
    return Downloads(sleep=waits.append, timeout_s=10.0)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again_with_waits_that_double(status: int) -> None:
    waits: list[float] = []
    with serve([Reply(status=status), Reply(status=status), Reply(status=status), GOOD]) as server:
        assert downloads(waits).json(server.url) == {"Items": []}
    assert waits == [1.0, 2.0, 4.0]


def test_the_server_may_ask_for_a_longer_wait_up_to_a_minute() -> None:
    waits: list[float] = []
    replies = [Reply(status=429, headers={"Retry-After": text}) for text in ("7", "9999", "soon")]
    with serve([*replies, GOOD]) as server:
        downloads(waits).json(server.url)
    assert waits == [7.0, 60.0, 4.0]


def test_after_five_attempts_the_reason_is_told_in_one_line() -> None:
    waits: list[float] = []
    with (
        serve([Reply(status=503)]) as server,
        pytest.raises(GpubenchError, match=r"5 attempts: status 503; no price was changed"),
    ):
        downloads(waits).json(server.url)
    assert len(server.paths) == 5
    assert len(waits) == 4


@pytest.mark.parametrize(
    ("status", "hint"), [(400, "filter"), (401, "key"), (403, "region"), (404, "region")]
)
def test_a_lasting_failure_is_not_tried_again_and_names_what_is_wrong(
    status: int, hint: str
) -> None:
    with (
        serve([Reply(status=status)]) as server,
        pytest.raises(GpubenchError, match=f"status {status}: .*{hint}"),
    ):
        downloads([]).json(f"{server.url}/skus?pageSize=1")
    assert len(server.paths) == 1


def test_a_redirect_is_not_followed_because_the_key_would_go_to_the_other_host() -> None:
    with serve([Reply(status=302, headers={"Location": "http://127.0.0.1:9/"})]) as server:
        with pytest.raises(GpubenchError, match="status 302: the interface may have moved"):
            downloads([]).json(server.url, {"X-Goog-Api-Key": "secret-key"})
        assert len(server.paths) == 1


def test_an_answer_that_ends_too_early_is_tried_again_from_its_beginning() -> None:
    broken = Reply(b"SKU,Price\nA,1\n", claimed_length=100)
    whole = Reply(b"SKU,Price\nA,1\nB,2\n")
    with serve([broken, whole]) as server:
        lines = downloads([]).read(server.url, lambda body: body.readlines(), 1000)
    assert lines == [b"SKU,Price\n", b"A,1\n", b"B,2\n"]


def test_an_answer_that_always_ends_too_early_is_no_answer() -> None:
    with (
        serve([Reply(b"SKU,Price\n", claimed_length=100)]) as server,
        pytest.raises(GpubenchError, match=r"no complete answer .* 90 bytes too early"),
    ):
        downloads([]).read(server.url, lambda body: body.read(), 1000)


def test_an_answer_larger_than_the_limit_is_not_read() -> None:
    with (
        serve([Reply(b"x" * 1001)]) as server,
        pytest.raises(GpubenchError, match="larger than expected"),
    ):
        downloads([]).read(server.url, lambda body: body.read(), 1000)
    assert len(server.paths) == 1


@pytest.mark.parametrize("body", [b"<html>Log in</html>", b"[]", b"\xff\xfe", b'{"a": NaN}', b""])
def test_an_answer_that_is_not_a_json_object_may_come_from_a_proxy(body: bytes) -> None:
    with (
        serve([Reply(body)]) as server,
        pytest.raises(GpubenchError, match="a proxy or a login page may have answered"),
    ):
        downloads([]).json(server.url)


def test_without_a_network_the_reason_is_told_after_the_attempts() -> None:
    waits: list[float] = []
    with serve([GOOD]) as server:
        url = server.url
    with pytest.raises(GpubenchError, match=r"Connection refused; no price was changed"):
        downloads(waits).json(url)
    assert waits == [1.0, 2.0, 4.0, 8.0]
