"""The result of one cell: the JSON document that scripts and reports rely on (schema 1).

Absent is None, which is null in the file; never 0, never NaN. The keys are a contract: more may be
added, none is renamed without a new schema number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from gpubench.errors import InputError
from gpubench.files.untrusted import parse_json
from gpubench.spec.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gpubench.results.samples import Samples

SCHEMA = 1

Interval = tuple[float, float]


class Part(BaseModel):
    """A piece of a document: strict JSON, which later versions may add keys to."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, populate_by_name=True)


class Environment(Part):
    """The machine and the software that measured."""

    time: str  # UTC, ISO 8601
    gpubench: str
    python: str
    platform: str | None = None
    torch: str | None = None
    torchvision: str | None = None
    transformers: str | None = None
    cuda: str | None = None
    driver: str | None = None
    cpu: str
    cores: int  # that this process may use
    gpus: list[str] = []
    instance: str | None = None  # as the machine itself tells


class EngineInfo(Part):
    """The model made ready for one runtime."""

    parameters: int | None = None
    flops: float | None = None  # per inference
    # A cold start: load the model, make the engine (or fetch it from the cache), run it once.
    load_seconds: float | None = None
    build_seconds: float | None = None
    from_cache: bool | None = None  # what is costly to build was there; null: nothing is kept
    first_inference_seconds: float | None = None
    library: str | None = None  # what executes it, with its version; null: torch as it is
    captured: bool = False  # replayed as a CUDA graph
    weights: str | None = None  # "random (seed 0)", or where they came from
    intra_op_threads: int | None = None  # CPU threads inside each worker's forward pass
    threads_note: str | None = None  # how the cores were shared out
    native_precision: bool = True  # False: emulated, far slower than the hardware could be


class Window(Part):
    seconds: float | None = None
    warmup_seconds: float | None = None


class Requests(Part):
    offered: int = 0
    completed: int = 0  # inside the window: the n of every percentile
    unfinished: int = 0
    failed: int = 0
    padded: int = 0  # samples added to fill a captured batch size


class Latency(Part):
    """Milliseconds. P95 is the headline."""

    mean: float | None = None
    min: float | None = None
    max: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p50_interval: Interval | None = None
    p90_interval: Interval | None = None
    p95_interval: Interval | None = None
    p99_interval: Interval | None = None
    interval_notes: dict[str, str] = {}  # why an interval is null: {"p99": "..."}


class StageSummary(Part):
    """Milliseconds."""

    mean: float
    p50: float
    p95: float


class Stages(Part):
    """Parts of the latency, in the order in which they pass. None: the stage does not exist."""

    preprocess: StageSummary | None = None
    queue: StageSummary | None = None
    batching: StageSummary | None = None
    submit: StageSummary | None = None
    h2d: StageSummary | None = None
    compute: StageSummary | None = None
    d2h: StageSummary | None = None
    return_: StageSummary | None = Field(None, alias="return")
    postprocess: StageSummary | None = None


class TrtexecTimes(Part):
    """Times of a batch by trtexec's definitions, to be held against its figures."""

    latency: StageSummary  # h2d + gpu_compute + d2h: no round trip
    enqueue_mean: float | None = None  # milliseconds; on the host, of the calls that hand it over
    h2d: StageSummary | None = None
    gpu_compute: StageSummary
    d2h: StageSummary | None = None


class EventClock(Part):
    """How well one worker's device stamps are placed on the host's clock."""

    width_us: float | None  # what remains unknown; None where the constraints contradict each other
    contradiction_us: float  # by how much they do: what an event does not resolve, about 0.5 us
    drift_ppm: float  # what the host's clock gains on the device's
    shifted_batches: int  # moved as a whole to lie between submission and completion
    largest_shift_us: float
    squeezed_batches: int  # longer on the device than the host saw them
    largest_squeeze_us: float


class Lag(Part):
    """How late batches left, in microseconds: the harness's own error."""

    p50: float
    p99: float


class Harness(Part):
    lag_us: Lag | None = None
    cpu_cores: float | None = None  # busy on average during the run, the model's own included
    littles_law_residual: float | None = None  # 1 - throughput * mean latency / clients
    executor: Literal["python", "graph", "delay"]
    not_captured: str | None = None  # why an engine on a GPU does not run as a graph
    event_clock: list[EventClock] | None = None  # of each worker; None: no device events


OUTPUTS_DIFFER = "outputs-differ"  # the reason that says that answers are wrong
NOT_DETERMINISTIC = "model-not-deterministic"  # the reason why answers cannot be judged


class Reason(Part):
    code: str
    figure: float | str | None
    limit: float | str | None
    remedy: str


class Verdict(Part):
    status: Literal["valid", "suspect"]
    reasons: list[Reason] = []


class Clock(Part):
    """MHz, over the window."""

    mean: float
    min: float


class Clocks(Part):
    sm_mhz: Clock | None = None  # of the multiprocessors, which compute
    memory_mhz: Clock | None = None


class GpuFigures(Part):
    """What GPUs did in the window. None: the GPU, its driver or the container does not tell."""

    clocks: Clocks = Clocks()
    throttled: bool | None = None  # slowed down by heat or by hardware protection at any time
    throttled_share: float | None = None  # of the window
    power_w: float | None = None  # mean
    energy_j: float | None = None  # idle time of the window included
    energy_j_per_inference: float | None = None
    temperature_c: float | None = None  # highest
    utilization: float | None = None  # mean share of the time in which a kernel ran
    memory_used_bytes: int | None = None  # most, by everybody
    other_processes: int | None = None  # most at a time, this process left out


class GpuReport(GpuFigures):
    """One GPU of those used, and what it contributed."""

    device: str  # "cuda:0"
    name: str | None = None
    uuid: str | None = None
    pci_bus_id: str | None = None
    workers: list[int] = []  # their numbers, as in the samples
    throughput_per_second: float | None = None
    energy_from: Literal["counter", "power"] | None = None  # the GPU's counter, or power x time
    # Share of the window in which the clock was held down, by cause: "power-cap", "heat", ...
    clock_events: dict[str, float] | None = None


class DeviceReport(GpuFigures):
    """All GPUs used together: power and energy are sums, the rest the mean or the worst of them."""

    gpus: list[GpuReport] = []


class Numerics(Part):
    """An engine's outputs against those of the fp32 eager model, for the same requests.

    Each figure is that of the output that fares worst; null where there is nothing to compare.
    """

    # False: NaN or infinity where the reference has a number, and no figures.
    finite: bool = True
    max_abs_error: float | None = None
    relative_error: float | None = None  # norm of all errors over norm of all expected values
    # After subtracting the mean over the requests; null: they differ by no more than rounding.
    cosine: float | None = None
    # Share of samples with the same largest output, where the model has such an answer.
    top1_agreement: float | None = None
    start_agreement: float | None = None
    end_agreement: float | None = None
    # Of integer and boolean outputs: the share of equal values, and the relative error.
    integer_agreement: float | None = None
    integer_relative_error: float | None = None
    # What the reference itself has among its values, if they are not all finite.
    reference_not_finite: Literal["NaN", "infinity"] | None = None
    # Relative error between two answers to the same request, by the reference and by the engine.
    # Null: they are the same, or the second was not asked, since nothing made it suspect.
    reference_repeat_error: float | None = None
    engine_repeat_error: float | None = None


class Cost(Part):
    """The price of a million inferences on one instance."""

    instance: str | None  # None: a price given by hand
    measured_here: bool | None  # True: this is the instance measured. None: cannot be told
    extrapolated: bool = False  # multiplied from some of the instance's GPUs to all
    usd_per_hour: float
    usd_per_million: float | None
    usd_per_million_interval: Interval | None = None
    price_as_of: str | None = None
    price_source: str | None = None
    hardware_note: str | None = None  # how the priced hardware differs from the measured


class SampleFile(Part):
    """The file of samples beside the document, by which it is told from any other."""

    rows: int
    bytes: int
    sha256: str


class Failure(Part):
    stage: str  # "load" | "warm-up" | "measure" | ...
    message: str


class Result(Part):
    """One measured cell. Attributes carry the names of the JSON keys."""

    # `schema` is a deprecated method name of pydantic's, so the attribute has an underscore.
    schema_: int = Field(SCHEMA, alias="schema")
    spec: Spec
    environment: Environment
    engine: EngineInfo = EngineInfo()
    window: Window = Window()
    requests: Requests = Requests()
    offered_per_second: float | None = None
    throughput_per_second: float | None = None
    throughput_interval: Interval | None = None
    throughput_interval_note: str | None = None
    latency_ms: Latency = Latency()
    stages_ms: Stages = Stages()
    trtexec_ms: TrtexecTimes | None = None
    harness: Harness
    verdict: Verdict
    device: DeviceReport | None = None  # None on a CPU
    numerics: Numerics | None = None
    costs: list[Cost] = []
    sample_file: SampleFile | None = None  # None: the document is not in a run directory
    error: Failure | None = None

    _samples: Samples | None = PrivateAttr(None)
    _counted: NDArray[np.bool_] | None = PrivateAttr(None)

    @property
    def answers_agree(self) -> bool | None:
        """Whether the engine answers as the fp32 reference, as the verdict judged it.

        None where there was no reference, where the model answers differently each time, or where
        the cell failed before it was judged.
        """
        codes = {reason.code for reason in self.verdict.reasons}
        if OUTPUTS_DIFFER in codes:
            return False
        if NOT_DETERMINISTIC in codes:
            return None
        was_judged = self.verdict.status == "valid" or bool(self.verdict.reasons)
        return True if was_judged and self.numerics is not None else None

    @property
    def samples(self) -> Samples | None:
        """Raw time stamps (NumPy columns, ns), where this process measured them."""
        return self._samples

    @property
    def counted(self) -> NDArray[np.bool_] | None:
        """Which rows of `samples` the percentiles are of; None where there are no samples."""
        return self._counted

    def with_samples(self, samples: Samples | None, counted: NDArray[np.bool_] | None) -> Result:
        self._samples, self._counted = samples, counted
        return self

    def to_json(self) -> str:
        """Strict JSON, two spaces of indent: no NaN, no Infinity; what is absent is null."""
        return self.model_dump_json(by_alias=True, indent=2)


class OtherDocument(InputError):
    """A whole JSON document, and not one that this version of gpubench has written."""


def parse_result(text: str, origin: str) -> Result:
    """Read a result document.

    Raises InputError, naming `origin`, where it is not a result of a schema this version reads;
    OtherDocument where it is whole and something else.
    """
    try:
        document = parse_json(text, origin)
    except InputError as error:
        raise InputError(f"{error}; measure it again or remove the file") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if isinstance(schema, int) and schema != SCHEMA:
        raise OtherDocument(
            f"{origin} has schema {schema}, this gpubench reads {SCHEMA}; "
            "read it with the version that wrote it (environment.gpubench)"
        )
    try:
        return Result.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        problem = (
            f"{origin} is not a gpubench result: {place}: {first['msg']}; "
            "measure it again or remove the file"
        )
    raise InputError(problem) if schema == SCHEMA else OtherDocument(problem)
