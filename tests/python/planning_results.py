"""Results and searches for tests of plans: figures are given, nothing is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from factories import environment, result

from gpubench.planning.documents import Documents, Place
from gpubench.results.result import Latency, Reason, Result, Verdict
from gpubench.results.run_directory import open_run
from gpubench.results.samples import Samples
from gpubench.results.search_result import ObjectiveInfo, Probe, SearchResult

C7I: dict[str, Any] = {
    "cpu": "Intel(R) Xeon(R) Platinum 8488C",
    "cores": 4,
    "instance": "c7i.xlarge",
}


def closed_loop(throughput: float, p95_ms: float | None, **settings: Any) -> Result:
    """On a c7i.xlarge, unless `machine` says otherwise."""
    return result(throughput, p95_ms, **{"machine": C7I, **settings})


def open_loop(
    rate: float, p95_ms: float | None, at_most_ms: float | None = None, **settings: Any
) -> Result:
    """`rate` requests per second, of `batch` inferences each."""
    batch = settings.get("batch", 1)
    measured = result(rate * batch, p95_ms, **{"machine": C7I, **settings}, rate=rate)
    measured.latency_ms.p95_at_most = at_most_ms
    measured.offered_per_second = rate
    return measured


def search(
    rate: float | None,
    interval: tuple[float, float] | None = None,
    *,
    percentile: str = "p95",
    limit_ms: float = 100.0,
    probes: tuple[Result, ...] = (),
    reasons: tuple[Reason, ...] = (),
    note: str | None = None,
    machine: dict[str, Any] = C7I,
    late: int = 51,
    **settings: Any,
) -> SearchResult:
    """A search that found `rate` requests per second. It has one probe at this rate, or `probes`.

    `late` of 1000 requests of each probe are late.
    That probe has no latency, so that it is no evidence of its own.
    """
    if not probes:
        load = {"rate": rate} if rate else {"clients": 1}
        probe = result(rate, None, machine=machine, **{**settings, **load})
        probe.latency_ms = Latency()
        probes = (probe,)
    spec = probes[-1].spec.model_copy(update={"clients": None, "rate": None})
    return SearchResult(
        spec=spec,
        environment=environment(machine),
        objective=ObjectiveInfo.model_validate({"percentile": percentile, "latency_ms": limit_ms}),
        max_rate_per_second=rate,
        interval=interval,
        note=note,
        verdict=Verdict(status="suspect" if reasons else "valid", reasons=list(reasons)),
        probes=[
            Probe(
                load="open" if each.spec.open_loop else "unloaded",
                rate_per_second=each.spec.rate,
                requests=1000,
                late=late,
                effective=500.0,
                near=each.spec.open_loop,
                result=each,
            )
            for each in probes
        ],
    )


def documents(*found: Result | SearchResult) -> Documents:
    """These results as the documents of one run directory. Each search has a name of its own."""
    cells = [each for each in found if isinstance(each, Result)]
    searches = [each for each in found if isinstance(each, SearchResult)]
    return Documents(
        tuple((Place("run", f"cell{n}"), each) for n, each in enumerate(cells)),
        tuple((Place("run", f"search-{n:016x}"), each) for n, each in enumerate(searches)),
    )


def written(folder: Path, *found: Result | SearchResult, measured: Samples | None = None) -> str:
    """The URL of a run directory with these results. Every cell has the same samples."""
    run = open_run(folder)
    run.check_writable()
    for number, each in enumerate(found):
        if isinstance(each, SearchResult):
            run.write_search(f"search-{number:016x}", each)
        else:
            run.write(f"{number:016x}", each, measured)
    return run.url
