"""The result of one cell: the JSON document that scripts and reports rely on (schema 1).

Absent is None, which is null in the file. It is never 0 and never NaN. The keys are a contract:
keys may be added, but no key is renamed without a new schema number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from gpubench.displayed import Displayed
from gpubench.errors import InputError
from gpubench.files.untrusted import parse_json
from gpubench.spec.settings import Optimizer
from gpubench.spec.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gpubench.results.samples import Samples

SCHEMA = 1

Interval = tuple[float, float]


class Part(BaseModel):
    """A part of a document. It is strict JSON, and later versions may add keys."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, populate_by_name=True)


class Environment(Part):
    """The machine and the software of the measurement."""

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
    instance: str | None = None  # the instance type, if the machine tells it


class EngineInfo(Part):
    """The model prepared for one runtime."""

    parameters: int | None = None
    flops: float | None = None  # per inference
    # The cold start: load the model, build the engine (or load it from the cache), run it once.
    load_seconds: float | None = None
    build_seconds: float | None = None
    from_cache: bool | None = (
        None  # whether the costly part was in the cache; null: the runtime keeps nothing
    )
    first_inference_seconds: float | None = None
    # The largest resident memory of the process while it was loaded, built and checked.
    build_peak_host_bytes: int | None = None
    artifact_bytes: int | None = None  # size of the engine's file, or of its weights
    library: str | None = None  # what executes it, with its version; null: plain torch
    captured: bool = False  # replayed as a CUDA graph
    weights: str | None = None  # "random (seed 0)", or where they came from
    intra_op_threads: int | None = None  # CPU threads of one forward pass
    threads_note: str | None = None  # how the cores were divided among the workers
    native_precision: bool = True  # False: the device emulates it, and is much slower


class WarmUp(Part):
    """What --warmup auto found."""

    mode: Literal["auto"] = "auto"
    # From the beginning of the warm-up to the end of its last change of speed. None: the speed had
    # not settled when the warm-up ended.
    settled_seconds: float | None = None
    settled_requests: int | None = None  # requests before that point; 0: no change was found
    # How much longer batches took before that point, relative to those after it; if the speed
    # changed until the end, those of the first half, relative to the second. None: no change.
    slower: float | None = None
    limit_reached: bool = False  # the warm-up ended because it was long, not because it settled
    # If the speed settled after more than 2 s: how much the throughput would have differed,
    # relative to the settled one, if the window had begun after 2 s.
    throughput_error_after_2s: float | None = None


class Cooling(Part):
    """The wait of --cool-to, before the warm-up. Temperatures are in degrees Celsius."""

    sensor: str  # "coretemp", "cpu-thermal", "NVML: cuda:0"; of several, the hottest counts
    limit_c: float  # that was asked for
    first_c: float  # before the wait
    temperature_c: float  # after it; above `limit_c` if the longest wait was over
    waited_seconds: float


class CountedRows(Part):
    """The rows of the sample file that count: those with this stamp between these two times.

    Both ends are included. Nanoseconds, on the clock of the sample file.
    """

    stamp: Literal["scheduled_ns", "completed_ns"]
    from_ns: int
    to_ns: int


class WindowInfo(Part):
    seconds: float | None = None
    warmup_seconds: float | None = None
    warmup: WarmUp | None = None  # None: the warm-up had a given length
    cooling: Cooling | None = None  # None: --cool-to was not given
    counted: CountedRows | None = None  # None: no request counts, or an earlier version measured it
    compilations: int | None = None  # of the runtime, in the measured run; None: it does not count


class Requests(Part):
    offered: int = 0
    completed: int = 0  # requests that count: the n of every percentile
    unfinished: int = 0
    failed: int = 0
    padded: int = 0  # samples added to fill a captured batch size


class Worst(Part):
    """The slowest request that counts."""

    latency_ms: float
    # When it was due, from the start of the window. It may be negative in a closed loop.
    at_seconds: float
    request: int  # its row in the sample file; the first one is 0
    longest_stage: str  # the stage in which it spent most time, as in `stages_ms`
    longest_stage_ms: float
    repeat: int | None = None  # Only where repeats are combined: the number of its repeat.


class Latency(Part):
    """Milliseconds. P95 is the headline figure."""

    mean: float | None = None
    min: float | None = None
    max: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99_9: float | None = None
    p50_interval: Interval | None = None
    p90_interval: Interval | None = None
    p95_interval: Interval | None = None
    p99_interval: Interval | None = None
    p99_9_interval: Interval | None = None
    # Upper bounds: with 95% confidence, the true percentile is at most this.
    p50_at_most: float | None = None
    p90_at_most: float | None = None
    p95_at_most: float | None = None
    p99_at_most: float | None = None
    p99_9_at_most: float | None = None
    # Why it is null: a percentile or its interval {"p99": "..."}, its bound {"p99_at_most": "..."}.
    interval_notes: dict[str, str] = {}
    worst: Worst | None = None  # None if a request never finished, as for `max`
    # Only in reports: other percentiles that were asked for, {"p97_5": 12.3}.
    other_percentiles: dict[str, float] | None = None


class StageSummary(Part):
    """Milliseconds."""

    mean: float
    p50: float
    p95: float


class Stages(Part):
    """The parts of the latency, in their order. None: the stage does not exist."""

    preprocess: StageSummary | None = None
    queue: StageSummary | None = None
    batching: StageSummary | None = None
    fill: StageSummary | None = None
    submit: StageSummary | None = None
    h2d: StageSummary | None = None
    compute: StageSummary | None = None
    d2h: StageSummary | None = None
    return_: StageSummary | None = Field(None, alias="return")
    postprocess: StageSummary | None = None
    # The parts of `compute` in a step of training. Together they are at most `compute`.
    forward: StageSummary | None = None
    backward: StageSummary | None = None
    optimizer: StageSummary | None = None


class TrtexecTimes(Part):
    """Times of a batch as trtexec defines them, for comparison with its figures."""

    latency: StageSummary  # h2d + gpu_compute + d2h, which is not a round trip
    enqueue_mean: float | None = None  # milliseconds on the host of the call that launches a graph
    h2d: StageSummary | None = None
    gpu_compute: StageSummary
    d2h: StageSummary | None = None


class EventClock(Part):
    """How accurately one worker's device stamps are converted to the host's clock."""

    width_us: float | None  # the remaining uncertainty; None if the constraints contradict
    contradiction_us: float  # by how much they contradict: events resolve about 0.5 us
    drift_ppm: float  # how much faster the host's clock runs than the device's
    shifted_batches: int  # batches that were moved to lie between submission and completion
    largest_shift_us: float
    squeezed_batches: int  # batches that seem longer on the device than on the host
    largest_squeeze_us: float


class Lag(Part):
    """How late batches left the queue, in microseconds: the delay that the harness adds."""

    p50: float
    p99: float


class Harness(Part):
    lag_us: Lag | None = None
    cpu_cores: float | None = (
        None  # mean number of busy cores during the run, those of the model included
    )
    cpus: str | None = None  # the cores on which the process could run: "0-1,4"
    littles_law_residual: float | None = None  # 1 - throughput * mean latency / clients
    executor: Literal["python", "graph", "delay"]
    not_captured: str | None = None  # why an engine on a GPU does not run as a CUDA graph
    event_clock: list[EventClock] | None = None  # of each worker; None: no device events


OUTPUTS_DIFFER = "outputs-differ"  # verdict code of wrong outputs
NOT_DETERMINISTIC = "model-not-deterministic"  # verdict code of outputs that cannot be judged


class Reason(Part):
    code: str
    figure: float | str | None
    limit: float | str | None
    remedy: str
    # Only where repeats are combined: in how many of them it was found.
    in_repeats: int | None = None


class Verdict(Part):
    status: Literal["valid", "suspect"]
    reasons: list[Reason] = []


class ClockFrequency(Part):
    """MHz, during the window."""

    mean: float
    min: float


class Clocks(Part):
    sm_mhz: ClockFrequency | None = None  # of the multiprocessors
    memory_mhz: ClockFrequency | None = None


class GpuFigures(Part):
    """The state of GPUs in the window. None: GPU, driver or container do not report it."""

    clocks: Clocks = Clocks()
    throttled: bool | None = None  # whether heat or a hardware protection slowed it down
    throttled_share: float | None = None  # share of the window in which they did
    power_w: float | None = None  # mean
    energy_j: float | None = None  # of the whole window, idle time included
    energy_j_per_inference: float | None = None
    temperature_c: float | None = None  # highest
    utilization: float | None = None  # mean share of the time in which a kernel ran
    memory_used_bytes: int | None = None  # largest value, of all processes
    other_processes: int | None = None  # largest number at one time, without this process


class GpuReadings(Part):
    """The state of a GPU over the window: lists of the same length, one value for each reading.

    If there were more than 200 readings, 200 of them are here, evenly chosen from the first to the
    last. None: not reported.
    """

    seconds: list[float]  # from the start of the window
    sm_clock_mhz: list[float | None]
    power_w: list[float | None]
    total: int  # readings of the clock or the power in the window

    @model_validator(mode="after")
    def _has_equal_lengths(self) -> Self:
        if not len(self.seconds) == len(self.sm_clock_mhz) == len(self.power_w):
            raise ValueError("seconds, sm_clock_mhz and power_w have different lengths")
        return self


class GpuReport(GpuFigures):
    """One of the GPUs used, and its share of the result."""

    device: str  # "cuda:0"
    name: str | None = None
    uuid: str | None = None
    pci_bus_id: str | None = None
    workers: list[int] = []  # their numbers, as in the samples
    throughput_per_second: float | None = None
    energy_from: Literal["counter", "power"] | None = None  # the GPU's counter, or power x time
    # The integral of the power readings, divided by the energy of the counter in the same time,
    # minus 1. None: they were not compared. `energy_note` says why, or why there is no energy.
    energy_disagreement: float | None = None
    energy_note: str | None = None
    # Share of the window in which each cause lowered the clock: "power-cap", "heat", ...
    clock_events: dict[str, float] | None = None
    # None: no clock and no power was read in the window, or an earlier version measured it
    readings: GpuReadings | None = None


class DeviceReport(GpuFigures):
    """All GPUs used together. Power and energy are sums; the rest are means or worst values."""

    gpus: list[GpuReport] = []


class CpuEnergy(Part):
    """The energy of the CPU packages (sockets) in the window, by their own counters (RAPL).

    It is that of all cores of all packages, idle ones and those of other processes included. None:
    the machine does not report it; `note` says why.
    """

    power_w: float | None = None  # mean
    energy_j: float | None = None  # of the whole window
    energy_j_per_inference: float | None = None
    packages: int | None = None  # how many
    note: str | None = None


class Numerics(Part):
    """An engine's outputs compared with those of the fp32 eager model, for the same requests.

    Each figure is that of the output that is worst. It is null if there is nothing to compare.
    """

    # False: an output is NaN or infinite and the reference is not. The figures are then null.
    finite: bool = True
    max_abs_error: float | None = None
    relative_error: float | None = None  # norm of all differences / norm of the reference
    # After the mean over the requests was subtracted. Null: requests differ only by rounding.
    cosine: float | None = None
    # Share of samples with the same class, or the same start and end, if the model has these.
    top1_agreement: float | None = None
    start_agreement: float | None = None
    end_agreement: float | None = None
    # For integer and boolean outputs: the share of equal values, and the relative error.
    integer_agreement: float | None = None
    integer_relative_error: float | None = None
    # Set if the reference itself has such values.
    reference_not_finite: Literal["NaN", "infinity"] | None = None
    # Relative error of two answers to the same request, by the reference and by the engine.
    # Null: they are the same, or there was no reason to ask a second time.
    reference_repeat_error: float | None = None
    engine_repeat_error: float | None = None


class AccuracyData(Part):
    """The labelled samples with which an accuracy was measured."""

    name: str  # the value of --eval
    sha256: str | None = None  # of the file; None: a function yields the samples


class Accuracy(Part):
    """How often the engine is right on the user's own data: see docs/accuracy.md.

    All figures but `samples` are shares: 0.76 is 76%, and a drop of 0.01 is one percentage point.
    """

    metric: Literal["top1", "f1", "exact-match"]
    value: float
    interval: Interval | None = None  # 95%
    samples: int
    # The same metric of the fp32 eager model on the same samples. None: the CPU cannot run it.
    reference: float | None = None
    drop: float | None = None  # reference - value
    drop_interval: Interval | None = None  # 95%, from the samples on which the two differ
    data: AccuracyData
    note: str | None = None  # what a reader must know about the figures


LossKind = Literal["cross-entropy", "mean-squared-error", "own"]


class TrainingReport(Part):
    """The steps of a cell that trains: see docs/training.md."""

    optimizer: Optimizer
    replicas: int
    samples_per_step: int  # batch times accumulate times replicas
    loss: LossKind  # own: that of the user's model
    # The toy task: steps on one batch, before the warm-up.
    toy_steps: int
    toy_first_loss: float | None = None  # None: not finite
    toy_last_loss: float | None = None
    parameters_changed: bool  # by the toy task
    trains: bool  # whether the toy task was passed
    last_loss_finite: bool | None = None  # that of the last step that was measured
    tokens_per_second: float | None = None  # None: the model takes no text
    # Operations of a step, relative to those of its forward pass, in `achieved`: the backward pass
    # counts as two forward passes. What checkpointing computes again does not count.
    flop_factor: float
    # Throughput divided by `replicas` times that of one replica. None until a run directory is read
    # that holds the same cell with one replica.
    scaling_efficiency: float | None = None


class Achieved(Part):
    """The arithmetic of the window, and how far it is from the limit of the GPUs."""

    # engine.flops times the throughput; in training, three times that
    flops_per_second: float | None = None
    # Share of the dense peak of all GPUs used, at the precision of the cell. None: on a CPU, or the
    # peak is not known.
    peak_share: float | None = None
    peak_source: str | None = None  # the peak, and the document that gives it


class Memory(Part):
    """The largest memory in use during the warm-up and the measured run."""

    peak_host_bytes: int | None = None  # resident memory of the process, gpubench included
    peak_host_note: str | None = None  # why it is null
    peak_device_bytes: int | None = None  # of the GPU on which it is largest
    # Whether it is the memory of this process, or the memory of all processes on the GPU.
    peak_device_of: Literal["process", "device"] | None = None


class InputRepetition(Part):
    """Whether the speed depends on inputs being repeated. The requests of a cell are used again."""

    distinct_requests: int | None = None  # different requests that the workers executed
    # How much longer requests with new inputs took than requests that repeat earlier ones.
    # None: not compared, and `note` says why.
    new_inputs_slower: float | None = None
    new_inputs_slower_interval: Interval | None = None  # 95%
    by_chance: float | None = None  # the largest difference that chance explains (99%)
    note: str | None = None


class ServerStatistics(Part):
    """What the server counted in the measured run. Times are means for each of its requests."""

    requests: int  # that it answered, those of other clients included
    executions: int | None = None  # batches that it executed
    queue_ms: float
    compute_input_ms: float  # preparing the inputs
    compute_infer_ms: float
    compute_output_ms: float  # fetching the outputs


class ServerReport(Part):
    """The server that executed the model, and where the time of its requests went.

    The times are means over the measured run, for each request that was sent to the server. With
    dynamic batching, that is a batch. See docs/serving.md.
    """

    url: str
    protocol: Literal["grpc", "http"]
    model: str
    version: str | None = None  # that answered; None: the server does not say it
    name: str | None = None  # of the server's software
    server_version: str | None = None
    platform: str | None = None  # the framework that executes the model
    tensors: Literal["binary", "json"] | None = None  # None: no request was answered
    requests: int | None = None  # that were sent in the measured run and answered
    round_trip_ms: float | None = None
    client_ms: float | None = None  # CPU time of the thread that sends the request
    client_cores: float | None = None  # CPU time of all these threads, for each second
    # round_trip_ms without client_ms and without the times of `statistics`.
    network_ms: float | None = None
    statistics: ServerStatistics | None = None
    note: str | None = None  # why a figure is None


class Cost(Part):
    """The price of a million inferences on one instance."""

    instance: str | None  # None: the price comes from --usd-per-hour, or the hardware is owned
    region: str | None = None
    term: Literal["on-demand", "spot", "1-year", "3-year"] = "on-demand"
    owned: bool = False  # the price comes from --capital-usd
    measured_here: bool | None  # whether this instance was measured; None: unknown
    extrapolated: bool = False  # multiplied from some GPUs of the instance to all
    usd_per_hour: float
    usd_per_million: float | None
    usd_per_million_interval: Interval | None = None
    usd_per_epoch: float | None = None  # of --dataset-size samples; None: not asked for
    price_as_of: str | None = None
    price_source: str | None = None
    hardware_note: str | None = None  # how the priced hardware differs from the measured

    def has_price_of(self, other: Cost) -> bool:
        """Whether both are costs at the same price.

        The power of owned hardware differs a little between repeats, and so does its price. Older
        results do not have the region, which plays no part: it changes nothing but the price.
        """
        if self.owned or other.owned:
            return self.owned == other.owned
        return _price(self) == _price(other)


def _price(cost: Cost) -> tuple[str | None, str, float]:
    return cost.instance, cost.term, cost.usd_per_hour


class ElectricityUse(Part):
    """The electricity of a million inferences: the measured energy, with figures of the user.

    It is computed when a run directory is read; no file holds it.
    """

    usd_per_kwh: float | None = None
    grams_co2_per_kwh: float | None = None
    pue: float  # power of the building for each watt of the machine
    kwh_per_million: float  # PUE included
    usd_per_million: float | None = None
    grams_co2_per_million: float | None = None


class SampleFile(Part):
    """The sample file of this document. Its size and hash identify it."""

    rows: int
    bytes: int
    sha256: str


class CellSeconds(Part):
    """Where the time of this cell went. The stages and `other` add up to `total`.

    None: this cell did not spend time in the stage.
    """

    STAGES: ClassVar[frozenset[str]] = frozenset(
        {
            "load", "flops", "reference", "build", "check", "accuracy", "inputs", "capture",
            "cool", "start", "warmup", "measure", "analyse",
        }
    )  # fmt: skip

    load: float | None = None  # the model and its weights
    flops: float | None = None  # counting the operations of an inference
    reference: float | None = None  # the outputs of the fp32 eager model
    build: float | None = None  # the engine: convert, trace, compile; or read it from the cache
    check: float | None = None  # the engine's first inferences, compared with the reference
    accuracy: float | None = None  # the engine and the fp32 eager model on the data of --eval
    inputs: float | None = None  # making the inputs of the requests
    capture: float | None = None  # CUDA graphs
    cool: float | None = None  # the wait of --cool-to
    start: float | None = None  # workers and telemetry
    warmup: float | None = None
    measure: float | None = None  # the measured run
    analyse: float | None = None  # from its time stamps to the figures
    other: float  # everything else
    total: float  # without writing the result
    # Stages of which an earlier cell did all the work, or all but a copy.
    shared: list[str] = []


class Repeat(Part):
    """Which one of several measurements of the same cell this is.

    Repeats of two cells are a pair if they have the same `series` and the same `round`: they were
    measured one soon after the other.
    """

    number: int  # from 1
    of: int  # that were asked for
    round: int  # in a round, each cell of the series is measured before any is measured again
    series: str  # the command that measured it; a random name
    process: str  # the process that measured it; a random name


class RepeatedFigure(Part):
    """How a figure differs between the repeats of a cell. The figure is their geometric mean."""

    count: int  # repeats that have the figure
    spread: float | None = None  # standard deviation between repeats, relative to the figure
    interval: Interval | None = None  # 95%, from the differences between repeats
    interval_inside: Interval | None = None  # 95%, that of a single repeat, on average


class Repeats(Part):
    """What several repeats of a cell say together. The intervals of the result are the wider ones.

    It is computed when a run directory is read; no file holds it.
    """

    count: int  # that were measured without an error
    failed: int = 0
    processes: int  # in which they were measured
    throughput_per_second: RepeatedFigure | None = None
    p50_ms: RepeatedFigure | None = None
    p90_ms: RepeatedFigure | None = None
    p95_ms: RepeatedFigure | None = None
    p99_ms: RepeatedFigure | None = None
    p99_9_ms: RepeatedFigure | None = None


# How the messages of measurements begin that a person or a service has ended.
INTERRUPTED = "interrupted"


class Failure(Part):
    stage: str  # "load" | "warm-up" | "measure" | ...
    message: str

    @property
    def is_interruption(self) -> bool:
        """Whether the measurement was ended from outside. It has not failed, but is missing."""
        return self.message.startswith(f"{INTERRUPTED} ")


class Result(Displayed, Part):
    """One measured cell. Attributes have the names of the JSON keys."""

    # pydantic has a deprecated method `schema`, so the attribute has an underscore.
    schema_: int = Field(SCHEMA, alias="schema")
    spec: Spec
    environment: Environment
    repeat: Repeat | None = None  # None: the cell was measured once
    repeats: Repeats | None = None  # None: this is a single measurement
    engine: EngineInfo = EngineInfo()
    window: WindowInfo = WindowInfo()
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
    accuracy: Accuracy | None = None  # None: --eval was not given
    training: TrainingReport | None = None  # None: the requests are inferences
    achieved: Achieved = Achieved()
    memory: Memory = Memory()
    cpu_energy: CpuEnergy | None = None  # None: the CPU of this machine did not execute the model
    inputs: InputRepetition | None = None  # None: a CUDA graph, or no model is executed
    server: ServerReport | None = None  # None: this machine executed the model
    costs: list[Cost] = []
    electricity: ElectricityUse | None = None  # None: not asked for, or energy was not measured
    seconds: CellSeconds | None = None  # None: an earlier version of gpubench measured it
    sample_file: SampleFile | None = None  # None: the document is not in a run directory
    # Machines, or processes of a machine, that were lost or interrupted while they measured this
    # cell, before it was measured to the end. None: not known.
    lost_attempts: int | None = None
    error: Failure | None = None

    _samples: Samples | None = PrivateAttr(None)
    _counted: NDArray[np.bool_] | None = PrivateAttr(None)

    @property
    def answers_agree(self) -> bool | None:
        """Whether the engine's outputs agree with the fp32 reference, according to the verdict.

        None if there was no reference, if the model gives different outputs each time, or if the
        cell failed before it was judged.
        """
        codes = {reason.code for reason in self.verdict.reasons}
        if OUTPUTS_DIFFER in codes:
            return False
        if NOT_DETERMINISTIC in codes:
            return None
        was_judged = self.verdict.status == "valid" or bool(self.verdict.reasons)
        return True if was_judged and self.numerics is not None else None

    @property
    def power_w(self) -> float | None:
        """Mean power of the GPUs used; on a CPU, that of its packages. None: it is not known."""
        measured = self.device or self.cpu_energy
        return measured.power_w if measured else None

    @property
    def energy_j_per_inference(self) -> float | None:
        """Joules of the GPUs used; on a CPU, those of its packages. None: they are not known."""
        measured = self.device or self.cpu_energy
        return measured.energy_j_per_inference if measured else None

    @property
    def samples(self) -> Samples | None:
        """Raw time stamps (NumPy columns, ns). None if another process measured them."""
        return self._samples

    @property
    def counted(self) -> NDArray[np.bool_] | None:
        """Which rows of `samples` count for the percentiles. None if there are no samples."""
        return self._counted

    def with_samples(self, samples: Samples | None, counted: NDArray[np.bool_] | None) -> Result:
        self._samples, self._counted = samples, counted
        return self

    def to_json(self) -> str:
        """Strict JSON, indented by two spaces. No NaN, no Infinity; absent values are null."""
        return self.model_dump_json(by_alias=True, indent=2)


class OtherDocument(InputError):
    """A complete JSON document that this version of gpubench has not written."""


def parse_result(text: str, origin: str) -> Result:
    """Read a result document. Raises what `parse_document` raises."""
    return parse_document(Result, text, origin)


Document = TypeVar("Document", bound=Part)


def parse_document(kind: type[Document], text: str, origin: str) -> Document:
    """Read a document of this kind.

    Raises InputError, which names `origin`, if it is not a result with a schema that this version
    reads; OtherDocument if it is a complete document of another kind.
    """
    try:
        document = parse_json(text, origin)
    except InputError as error:
        raise InputError(f"{error}; measure it again or remove the file") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if isinstance(schema, int) and schema != SCHEMA:
        raise OtherDocument(
            f"{origin} has schema {schema}, and this gpubench reads {SCHEMA}; "
            "read it with the version that wrote it (environment.gpubench)"
        )
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        problem = (
            f"{origin} is not a gpubench result: {place}: {first['msg']}; "
            "measure it again or remove the file"
        )
    raise InputError(problem) if schema == SCHEMA else OtherDocument(problem)
