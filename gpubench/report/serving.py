"""Models on a server in tables: where the time of a request went, and which server it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpubench.report.format import ABSENT, milliseconds
from gpubench.report.settings import FilledColumn
from gpubench.report.table import Column, DraftCell
from gpubench.results.result import Result, ServerReport

_REMARK = (
    "client, network, server queue and server compute are means of a request to the server: "
    "docs/serving.md."
)


def server_columns(results: Sequence[Result]) -> list[FilledColumn]:
    """The parts of a request's time that are known. Empty if no server executed these results."""
    columns: list[tuple[str, Callable[[ServerReport], float | None]]] = [
        ("client ms", lambda server: server.client_ms),
        ("network ms", lambda server: server.network_ms),
        ("server queue ms", server_queue_ms),
        ("server compute ms", server_compute_ms),
    ]
    return [
        FilledColumn(Column(title, drop_order=11), _cell(figure))
        for title, figure in columns
        if any(r.server is not None and figure(r.server) is not None for r in results)
    ]


def _cell(figure: Callable[[ServerReport], float | None]) -> Callable[[Result], DraftCell]:
    def cell(result: Result) -> DraftCell:
        if result.server is None:
            return DraftCell(ABSENT)
        notes = (result.server.note,) if result.server.note else ()
        return DraftCell(milliseconds(figure(result.server)), notes)

    return cell


def server_queue_ms(server: ServerReport) -> float | None:
    return server.statistics.queue_ms if server.statistics else None


def server_compute_ms(server: ServerReport) -> float | None:
    """Preparing the inputs, the model, and fetching the outputs."""
    found = server.statistics
    if found is None:
        return None
    return found.compute_input_ms + found.compute_infer_ms + found.compute_output_ms


def server_software(server: ServerReport) -> str:
    """'mlserver 1.7.1 over grpc'."""
    software = " ".join(filter(None, (server.name, server.server_version)))
    return f"{software or 'a server'} over {server.protocol}"


def server_facts(results: Sequence[Result]) -> list[tuple[str, str]]:
    """The servers with their software, and what the line about the machine then means."""
    found = dict.fromkeys(
        f"{server_software(r.server)} at {r.server.url}" for r in results if r.server is not None
    )
    if not found:
        return []
    served = (
        "the cells with kserve ran" if any(r.server is None for r in results) else "all cells ran"
    )
    return [
        (
            "server",
            f"{', '.join(found)}; {served} on its hardware, which is not known, and the "
            "machine above only sent the requests",
        )
    ]


def server_remarks(results: Sequence[Result]) -> list[str]:
    return [_REMARK] if server_columns(results) else []
