"""Calls of a serverless function from outside: scripted answers of a server on this machine."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from factories import G5, environment
from function_server import Reply, answer, as_reply, in_turn, one_process, serving

from gpubench.cli import program as cli
from gpubench.errors import GpubenchError, InputError
from gpubench.measure import function_credentials
from gpubench.measure.cold import ColdInterrupted
from gpubench.measure.cold_url import CallOptions, cold_url
from gpubench.measure.function_call import parse_function_url
from gpubench.results.cold_result import ColdResult
from gpubench.results.function_calls import MemoryTimePrice, ServerlessFunction
from gpubench.results.run_directory import open_run


def function_of(result: ColdResult) -> ServerlessFunction:
    assert result.function is not None
    return result.function


def stored(folder: Path) -> ColdResult:
    ((_, result),) = open_run(folder).read_all(cold=True).cold
    return result


def test_the_first_call_of_each_process_is_cold() -> None:
    replies = in_turn(answer(1), answer(1, 2), answer(2), answer(1, 3), answer(2, 2))
    with serving(replies) as served:
        result = cold_url(served.url, CallOptions(warm_calls=4, inferences=1))
    function = function_of(result)
    assert [call.cold for call in function.calls] == [True, False, True, False, False]
    assert [start.number for start in result.starts] == [1, 2]
    assert result.starts[0].seconds.imports == 2.0
    assert result.starts[0].page_cache == "unknown"
    assert result.figures[0].ready is not None
    assert result.figures[0].ready.p50 == 3.0
    assert function.cold is not None
    assert function.warm is not None
    assert (function.cold.count, function.warm.count) == (2, 3)
    assert served.requests == [{"inferences": 1}] * 5
    assert result.spec.model == "resnet50"
    assert result.environment.instance == "g5.4xlarge"


def test_the_start_is_outside_of_no_call_that_did_not_wait_for_it() -> None:
    """One process began before the call, and one after it."""
    with serving(in_turn(answer(1, age_seconds=60.0), answer(2, age_seconds=1e-6))) as served:
        early, late = function_of(cold_url(served.url, CallOptions(warm_calls=1))).calls
    assert early.started_for_it is False
    assert late.started_for_it is True
    for call, start_ms in ((early, 0.0), (late, 1e-3)):
        assert call.round_trip_ms is not None
        assert call.outside_ms == pytest.approx(call.round_trip_ms - 1e-6 - start_ms)


def test_the_age_of_a_process_may_be_too_long_by_a_clock_tick() -> None:
    """A process that seems to have begun just before the call was started for it."""
    with serving(in_turn(answer(1, age_seconds=0.009))) as served:
        (call,) = function_of(cold_url(served.url, CallOptions(warm_calls=0))).calls
    assert call.started_for_it is True
    assert call.round_trip_ms is not None
    assert call.outside_ms == max(0.0, call.round_trip_ms - 1e-6 - 9.0)


def test_calls_of_a_burst_are_sent_together() -> None:
    with serving(lambda number: as_reply(answer(number))) as served:
        result = cold_url(served.url, CallOptions(parallel=5, warm_calls=0))
    calls = function_of(result).calls
    assert len({call.process for call in calls}) == 5
    assert all(call.cold and call.parallel == 5 for call in calls)
    assert len(result.starts) == 5


def test_bursts_have_a_wait_between_them_and_the_same_command_adds_the_rest(
    tmp_path: Path,
) -> None:
    waits: list[float] = []
    output = str(tmp_path / "run")

    def options(bursts: int) -> CallOptions:
        return CallOptions(bursts=bursts, idle_s=900.0, warm_calls=1, sleep=waits.append)

    with serving(one_process()) as served:
        cold_url(served.url, options(2), output)
        assert waits == [900.0]
        first = function_of(stored(tmp_path / "run")).calls
        more = cold_url(served.url, options(3), output)
        assert waits == [900.0, 900.0]
        assert cold_url(served.url, options(3), output) == more
    calls = function_of(more).calls
    assert calls[:4] == first
    assert [call.burst for call in calls] == [1, 1, 2, 2, 3, 3]
    assert stored(tmp_path / "run") == more


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    options = CallOptions(bursts=2, idle_s=1.0, warm_calls=1, sleep=interrupted)
    with serving(one_process()) as served, pytest.raises(ColdInterrupted) as stopped:
        cold_url(served.url, options, str(tmp_path / "run"))
    assert len(function_of(stopped.value.result).calls) == 2
    assert stored(tmp_path / "run") == stopped.value.result


def test_a_call_that_fails_later_is_kept_with_its_error(tmp_path: Path) -> None:
    def reply(number: int) -> Reply:
        return Reply(b"slow down", 429) if number == 3 else as_reply(answer(request=number))

    with serving(reply) as served:
        result = cold_url(served.url, CallOptions(warm_calls=3), str(tmp_path / "run"))
    failed = function_of(result).calls[2]
    assert failed.error is not None
    assert "status 429: the service limits the concurrent calls" in failed.error.message
    assert failed.cold is None
    warm = function_of(result).warm
    assert warm is not None
    assert warm.count == 2
    assert stored(tmp_path / "run") == result


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(b"", 403), "status 403: the caller may not invoke the function"),
        (Reply(b"", 302, {"Location": "http://elsewhere/"}), "status 302: it moved"),
        (Reply(b"", 502), "status 502: the function failed or has too little memory"),
        (Reply(b"<html>"), "this is not JSON"),
        (Reply(b"{}"), "it is not the answer of gpubench's handler"),
        (Reply(b"[" * 100_000), "nested too deeply"),
        (Reply(b"1" * 300_000), "larger than 256 KiB"),
        (as_reply(answer(handler_ms=-1.0)), "handler_ms: Input should be greater than"),
        (as_reply(answer(handler_ms=1e9)), "the times in the answer contradict the call"),
        (as_reply(answer(inference_ms=[1.0, 1.0])), "the times in the answer contradict the call"),
        (as_reply({**answer(), "process": "../../etc"}), "process: String should match pattern"),
        (as_reply(answer(spec={"model": "nothing"})), "spec: unknown model 'nothing'"),
        (
            as_reply(
                {
                    "schema": 1,
                    "kind": "function",
                    "error": {"stage": "weights", "message": "there is no file m.pt"},
                },
                500,
            ),
            "the function failed: there is no file m.pt",
        ),
    ],
)
def test_another_answer_is_refused_with_its_reason(
    reply: Reply, message: str, tmp_path: Path
) -> None:
    with serving(lambda number: reply) as served, pytest.raises(InputError) as refused:
        cold_url(served.url, output=str(tmp_path / "run"))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(served.requests) == 1
    assert list((tmp_path / "run").glob("*.json")) == []


def test_answers_of_two_versions_are_not_mixed_and_those_before_are_kept(tmp_path: Path) -> None:
    other = answer(1, 3, memory_bytes=1 << 30)
    with (
        serving(in_turn(answer(), answer(1, 2), other)) as served,
        pytest.raises(GpubenchError, match="another function than those before it: other memory"),
    ):
        cold_url(served.url, output=str(tmp_path / "run"))
    assert len(function_of(stored(tmp_path / "run")).calls) == 2


def test_a_service_may_run_a_function_on_several_kinds_of_machines() -> None:
    elsewhere = environment(G5).model_dump(mode="json")
    elsewhere |= {"cpu": "another processor", "platform": "another kernel", "time": "later"}
    replies = in_turn(answer(1), answer(2, environment=elsewhere))
    with serving(replies) as served:
        function = function_of(cold_url(served.url, CallOptions(warm_calls=1)))
    assert [call.error for call in function.calls] == [None, None]
    assert function.cpus == [environment(G5).cpu, "another processor"]


def test_a_function_that_says_nothing_ends_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(GpubenchError, match=r"no answer within 0\.05 s; give a longer --time"):
            cold_url(f"http://127.0.0.1:{port}/", CallOptions(timeout_s=0.05))


def test_a_function_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(GpubenchError, match=f"http://127.0.0.1:{port}/ cannot be reached: .*ref"):
        cold_url(f"http://127.0.0.1:{port}/", CallOptions(parallel=3))


def test_keys_and_credentials_are_in_no_document_and_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(function_credentials.VARIABLE, "Bearer s3cret")
    with serving(one_process()) as served:
        cold_url(f"{served.url}?code=s3cret", CallOptions(warm_calls=0), str(tmp_path / "run"))
    assert served.headers[0]["Authorization"] == "Bearer s3cret"
    assert served.paths == ["/function?code=s3cret"]
    (file,) = (tmp_path / "run").glob("cold-*.json")
    assert "s3cret" not in file.read_text()
    with serving(lambda number: Reply(b"", 403)) as served, pytest.raises(GpubenchError) as refused:
        cold_url(f"{served.url}?code=s3cret")
    assert "s3cret" not in str(refused.value)


def test_credentials_are_sent_only_over_https(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(function_credentials.VARIABLE, "Bearer s3cret")
    with pytest.raises(InputError, match="credentials are sent only over https"):
        cold_url("http://function.example.com/")


def test_a_function_url_of_lambda_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore", reason="the extra prices is not installed")
    monkeypatch.delenv(function_credentials.VARIABLE, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    url = parse_function_url("https://abc.lambda-url.eu-west-1.on.aws/x?y=1")
    headers = function_credentials.headers_for(url, aws_sigv4=True)(b"{}")
    assert "/eu-west-1/lambda/aws4_request" in headers["Authorization"]
    assert "content-type;host;x-amz-date" in headers["Authorization"]
    assert "secret" not in str(headers)
    elsewhere = parse_function_url("https://example.com/")
    with pytest.raises(InputError, match="it signs calls of function URLs of Lambda"):
        function_credentials.headers_for(elsewhere, aws_sigv4=True)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "name",
            "ftp://h/",
            "http://",
            "http://h:99999/",
            "http://h:x/",
            "file:///etc/passwd",
        ),
        *("https://user:pass@h/", "https://h/\r\nX: y", "https://h/ä", "https://[::1/"),
        *("https://a..b/", "https://a b/", f"https://{'a' * 64}.example.com/"),
    ],
)
def test_a_url_that_cannot_be_called_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"^--url: "):
        parse_function_url(url)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--repeats", "2"], "add --idle 15m"),
        (["--parallel", "0"], "--parallel 0 is not allowed; give 1 to 200"),
        (["--parallel", "200", "--repeats", "20", "--idle", "1s"], "more than 2,000 calls"),
        (["--model", "resnet50"], "--model: a function has its own settings"),
        (["--page-cache", "cold"], "--page-cache: a function has its own settings"),
        (["--usd-per-million-requests", "0.2"], "add --usd-per-gb-second X"),
        (["--usd-per-gb-second", "-1"], "--usd-per-gb-second -1.0 is not a price"),
        (["--usd-per-gb-second", "nan"], "--usd-per-gb-second nan is not a price"),
        (["--billing-step", "100ms"], "--billing-step: it needs a price"),
        (["--billing-step", "0s", "--usd-per-gb-second", "1"], "give 1us or more"),
        (["--memory", "2"], "--memory '2' is not a size"),
        (["--timeout", "5"], "--timeout: '5' has no unit"),
    ],
)
def test_bad_flags_are_refused_before_any_call(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(one_process()) as served:
        assert cli.main(["cold", "--url", served.url, *flags]) == 2
    assert message in capsys.readouterr().err
    assert served.requests == []


def test_flags_of_functions_need_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cold", "--model", "resnet50", "--parallel", "3"]) == 2
    assert "--parallel is about a serverless function; add --url URL" in capsys.readouterr().err


def test_the_command_stores_a_document_that_report_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "run")
    price = ["--usd-per-gb-second", "0.5", "--usd-per-million-requests", "1"]
    with serving(one_process()) as served:
        status = cli.main(["cold", "--url", served.url, *price, "--output", output, "--json", "-"])
        assert status == 0
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert cli.main(["report", output]) == 0
    cost = document["function"]["cost"]
    # 3 s of a start and 1 ms of each warm call, with 2 GB.
    assert cost["usd_per_start"] == pytest.approx(3 * 2 * 0.5)
    assert cost["usd_per_call"] == pytest.approx(0.001 * 2 * 0.5 + 1e-6)
    shown = capsys.readouterr().out
    assert served.url in shown
    assert "1 process began before the call was sent" in shown


def test_the_price_of_a_document_stays_until_another_is_given(tmp_path: Path) -> None:
    output = str(tmp_path / "run")
    price = MemoryTimePrice(usd_per_gb_second=0.5)
    with serving(one_process()) as served:
        cold_url(served.url, CallOptions(price=price), output)
        again = cold_url(served.url, CallOptions(), output)
    cost = function_of(again).cost
    assert cost is not None
    assert cost.price == price
