"""What every column of the CSV and Parquet files means: the only place that says it.

docs/columns.md is made from it: `python -m gpubench.report.schemas docs`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

ColumnKind = Literal["text", "integer", "number", "boolean"]
_KINDS: dict[str, ColumnKind] = {kind: kind for kind in get_args(ColumnKind)}


@dataclass(frozen=True)
class ColumnInfo:
    """`kind` is the type in an Arrow table and in Parquet: string, int64, double or bool."""

    name: str
    kind: ColumnKind
    meaning: str


def _columns(lines: str) -> tuple[ColumnInfo, ...]:
    """The columns of a text with a line 'NAME KIND MEANING' for each.

    A NAME that ends in ± also has the columns NAME_low and NAME_high, the 95% interval; of one that
    ends in ±± there are only these two.
    """
    found: list[ColumnInfo] = []
    for line in lines.strip().splitlines():
        name, kind, meaning = line.split(maxsplit=2)
        bare = name.rstrip("±")
        if not name.endswith("±±"):
            found.append(ColumnInfo(bare, _KINDS[kind], meaning))
        if name.endswith("±"):
            what = meaning if name.endswith("±±") else f"95% interval of {bare}"
            found += [
                ColumnInfo(f"{bare}_{end}", "number", f"{what}: {word} end")
                for end, word in (("low", "lower"), ("high", "upper"))
            ]
    return tuple(found)


CELL = _columns("""
cell text Name of the documents in the run directory, without a suffix; of repeats the first one
time_utc text When the cell was measured: ISO 8601, UTC
model text What was run: a preset, or a model of your own
weights text Where the weights come from
runtime text What executes the model
precision text Data type of the computation
native_precision boolean false: the device emulates this precision, and is much slower
memory_format text Layout of images: contiguous or channels_last
batch_samples integer Samples in one request
sequence_length_tokens integer Tokens in one sample; empty for a model that takes no text
device text cpu, or the GPUs: cuda:0,cuda:1; or server, for a model on a server
inputs text Where the inputs are: device, host or pinned
clients integer Closed loop: clients that each wait for their answer; empty in an open loop
rate_requests_per_second number Open loop: the rate that was asked for; empty in a closed loop
arrivals text Open loop: poisson, constant, burst:N or trace:FILE; empty in a closed loop
workers integer Workers that take batches from the queue
threads_per_worker integer CPU threads of each worker
depth integer Batches in flight of each worker
dynamic_batch text Dynamic batching as MAX:DELAY; empty: off
wait text How a worker waits: spin, yield or block
seed integer Seed of the weights and the inputs
load_seed integer Seed of the arrivals, if it is not `seed`
warmup_seconds number Length of the warm-up in seconds
window_seconds number Length of the measured window in seconds
offered_requests integer Requests that were due in the window
completed_requests integer Requests that count: the n of every percentile
unfinished_requests integer Requests that were due and never finished
failed_requests integer Requests whose execution ended with an error
offered_requests_per_second number Open loop: the rate of requests that were due
throughput_inferences_per_second± number Inferences (samples) per second
latency_mean_ms number Mean latency of a request in milliseconds: its whole round trip
latency_min_ms number Smallest latency in milliseconds
latency_max_ms number Largest latency in milliseconds; empty if a request never finished
latency_p50_ms± number Median of the latency in milliseconds
latency_p90_ms± number 90th percentile of the latency in milliseconds
latency_p95_ms± number 95th percentile of the latency in milliseconds: the headline figure
latency_p99_ms± number 99th percentile of the latency in milliseconds
throughput_by_gpu_inferences_per_second text Inferences per second of each GPU: cuda:0 123.4; cuda:1 125.6
gpu_power_watts number Mean power of all GPUs used together
gpu_energy_joules_per_inference number Energy of the GPUs for an inference, idle time included
gpu_throttled_share number Share of the window in which heat or a protection slowed a GPU down: 0.1 is 10%
gpu_sm_clock_mean_mhz number Mean clock of the multiprocessors
gpu_temperature_max_celsius number Highest temperature of a GPU
answers_agree boolean Whether the outputs agree with those of the fp32 eager model; empty: not known
numerics_finite boolean false: an output is NaN or infinite, and that of the reference is not
numerics_max_abs_error number Largest absolute difference from an output of the fp32 eager model
numerics_relative_error number Norm of all differences, divided by the norm of the reference
numerics_cosine number Cosine of outputs and reference, after the mean over the requests is subtracted
numerics_top1_agreement number Share of samples with the same class
numerics_start_agreement number Share of samples with the same start of the answer
numerics_end_agreement number Share of samples with the same end of the answer
numerics_integer_agreement number Share of equal integer and boolean outputs
numerics_integer_relative_error number Relative error of integer outputs
numerics_reference_not_finite text NaN or infinity, if the reference itself has such values
numerics_reference_repeat_error number Relative error of two answers of the reference to the same request
numerics_engine_repeat_error number Relative error of two answers of the engine to the same request
verdict text valid, suspect or failed
reasons text Codes of the verdict's reasons, with "; " between them: see verdicts.md
error text Stage and message of the error that ended the cell
instance_priced text Instance of the price in this row; empty: --usd-per-hour, own hardware, or no price
usd_per_hour number Price of an hour in US dollars
usd_per_million_inferences± number Price of a million inferences in US dollars
measured_here boolean Whether the cell was measured on the priced instance; empty: not known
extrapolated boolean true: multiplied from some GPUs of the instance to all of them
hardware_note text How the priced hardware differs from the measured one
price_as_of text Date of the price
price_source text Where the price comes from
instance_measured text Instance on which the cell was measured, if the machine says it
cpu text Name of the CPU
cores integer CPU cores that the process was allowed to use
gpus text Names of the GPUs, with "; " between them
gpubench_version text Version of gpubench that measured the cell
torch_version text Version of PyTorch
driver_version text Version of the NVIDIA driver
sparsity text none, or 2:4
parameters integer Number of parameters of the model
flops_per_inference number Floating-point operations of an inference of the fp32 model
achieved_flops_per_second number flops_per_inference times the throughput
achieved_peak_share number Share of the dense peak of all GPUs used: 0.4 is 40%
achieved_peak_source text The peak, and the document that states it
peak_host_bytes integer Largest resident memory of the process in warm-up and window
peak_device_bytes integer Largest memory in use on a GPU
peak_device_bytes_of text process or device: whose memory peak_device_bytes is
build_peak_host_bytes integer Largest resident memory while the engine was built
artifact_bytes integer Size of the engine's file, or of its weights
latency_p99_9_ms± number 99.9th percentile of the latency in milliseconds
latency_p50_at_most_ms number With 95% confidence, the median is at most this
latency_p90_at_most_ms number With 95% confidence, the 90th percentile is at most this
latency_p95_at_most_ms number With 95% confidence, the 95th percentile is at most this
latency_p99_at_most_ms number With 95% confidence, the 99th percentile is at most this
latency_p99_9_at_most_ms number With 95% confidence, the 99.9th percentile is at most this
slowest_ms number Latency of the slowest request in milliseconds
slowest_at_seconds number When the slowest request was due, in seconds from the start of the window
slowest_longest_stage text The stage in which the slowest request spent most time
slowest_longest_stage_ms number How long it spent there, in milliseconds
repeat_number integer Which repeat this is, from 1; empty if repeats are combined or there are none
repeats integer Repeats that were measured without an error
repeats_failed integer Repeats that failed
repeats_processes integer Processes in which the repeats were measured
throughput_spread number Standard deviation of the throughput between repeats, relative to it
throughput_between_inferences_per_second±± number 95% interval of the throughput from the differences between repeats
throughput_inside_inferences_per_second±± number 95% interval of the throughput of a single repeat, on average
latency_p95_spread number Standard deviation of P95 between repeats, relative to it
latency_p95_between_ms±± number 95% interval of P95 from the differences between repeats
latency_p95_inside_ms±± number 95% interval of P95 of a single repeat, on average
price_name text The price as --instance names it, with provider, region and term where needed
price_region text Region of the price
price_term text on-demand, spot, 1-year or 3-year
price_is_old boolean true: the price was so old that it should be refreshed
gpu_energy_notes text Why a GPU has no energy, or where its two meters disagree
electricity_usd_per_million_inferences number Price of the GPUs' electricity for a million inferences, in US dollars
grams_co2_per_million_inferences number Carbon dioxide of that electricity in grams
accuracy_metric text top1, f1 or exact-match, measured with --eval
accuracy± number Accuracy on your own data: 0.76 is 76%
accuracy_samples integer Labelled samples
accuracy_reference number The same metric of the fp32 eager model
accuracy_drop± number accuracy_reference - accuracy: 0.01 is one percentage point
accuracy_data text The data of --eval
server text Address of the model server that executed the model; empty: this machine did
server_software text Software of the server, and the protocol
server_client_ms number CPU time of the client for a request to the server, in milliseconds: see serving.md
server_network_ms number Mean round trip without the client and the server, in milliseconds
server_queue_ms number Mean time of a request in the queue of the server, in milliseconds
server_compute_input_ms number Mean time in which the server prepared the inputs
server_compute_infer_ms number Mean time of the model on the server
server_compute_output_ms number Mean time in which the server fetched the outputs
server_note text Why one of these is empty
cpus text Cores on which the process that measured could run, as the kernel lists them: 0-1,4
cpu_power_watts number Mean power of all CPU packages, idle cores included; only if the CPU computed
cpu_energy_joules_per_inference number Energy of the CPU packages for an inference
cpu_energy_note text Why the CPU packages have no energy
cool_to_celsius number --cool-to; empty: not given
cooled_celsius number Temperature after the wait of --cool-to, before the warm-up
cooling_seconds number How long that wait took
task text inference, or train: a request is a step of training
optimizer text Training: adamw or sgd
accumulate integer Training: batches of each replica in a step
checkpointing boolean Training: whether activations are computed again in the backward pass
replicas integer Training: data-parallel copies of the model
forward_p50_ms number Training: median time of the forward passes of a step, in milliseconds
backward_p50_ms number Training: the same of the backward passes, the exchange of gradients included
optimizer_p50_ms number Training: the same of the optimiser
samples_per_step integer Training: samples of all replicas in a step
tokens_per_second number Training: tokens of all replicas, for a model that takes text
scaling_efficiency number Training: throughput, divided by replicas times that of one replica
training_loss text Training: cross-entropy, mean-squared-error, or own
toy_first_loss number Training: first loss on the batch of the toy task: see training.md
toy_last_loss number Training: last loss on it
trains boolean Training: whether that loss fell and the parameters changed
usd_per_epoch number Training: price of an epoch of --dataset-size samples, in US dollars
""")

# Columns whose names depend on what was asked for, or on the model.
_FAMILIES = (
    (
        re.compile(r"latency_p[0-9_]+_ms"),
        ColumnInfo(
            "latency_pN_ms",
            "number",
            "Another percentile of the latency in milliseconds, from --percentiles: latency_p97_5_ms "
            "is P97.5",
        ),
    ),
)
NAMED = tuple(info for _, info in _FAMILIES)

_RATIO = """
{key}_b_over_a± number {noun} of B divided by that of A
{key}_is_significant boolean Whether a difference was found; empty: no verdict
{key}_answer text The answer: {better}, {worse}, equivalent or undecided; empty: no verdict
{key}_method text How the sides were compared: paired, series or single
{key}_rounds integer Rounds or repeats from which the ratio comes
{key}_more_rounds integer How many more rounds would probably decide it
{key}_p_difference number P-value of no difference
{key}_p_difference_corrected number The same, corrected for the number of comparisons (Holm)
{key}_p_equivalence number P-value of a difference larger than --within
"""
COMPARED = _columns(
    "pair integer Number of the pair; empty for a cell without a partner\n"
    "side text A or B"
    + _RATIO.format(key="throughput_per_second", noun="Throughput", better="faster", worse="slower")
    + _RATIO.format(key="p95_ms", noun="P95 latency", better="faster", worse="slower").lstrip("\n")
    + _RATIO.format(
        key="usd_per_million", noun="Price of a million", better="cheaper", worse="dearer"
    ).lstrip("\n")
    + "a_answers_agree boolean Whether the outputs of A agree with the fp32 eager model\n"
    "b_answers_agree boolean Whether the outputs of B agree with the fp32 eager model\n"
)

PLANNED = _columns("""
rank integer Place among the candidates of the workload, from 1: the cheapest first
wins boolean Whether `plan` recommends this candidate
objective_percentile text Percentile of the objective: p90, p95 or p99
objective_ms number Limit of that percentile in milliseconds
evidence text What shows that the candidate meets the objective: search, open-loop or closed-loop
bound text What rate_per_second is of the highest rate: estimate, at-least, at-most or none
is_certain boolean Whether the candidate meets the objective with 95% confidence
obstacles text What is against the candidate, with blanks between the names
rate_per_second± number Inferences per second of the whole instance
objective_latency_ms number The percentile of the objective that was measured, in milliseconds
""")

SAMPLES = _columns("""
scheduled_ns integer When the request was due
opened_ns integer When its worker began to ask the queue for a batch
departed_ns integer When its batch was taken from the queue
submitted_ns integer Just before the first call into the model or the driver
completed_ns integer When its result could be read on the host; empty: it never finished
worker integer Number of the worker (int32)
batch integer Number of the batch, unique within the run
id integer Open loop: place in the schedule; closed loop: number of the client
e0_ns integer With device events: start of the copy to the device, on the clock of the host
e1_ns integer With device events: end of that copy, start of the computation
e2_ns integer With device events: end of the computation, start of the copy to the host
e3_ns integer With device events: end of that copy
preprocess_ns integer Duration of the preprocessing, if the model has it
postprocess_ns integer Duration of the postprocessing, if the model has it
forward_ns integer Training: duration of the forward passes of the step
backward_ns integer Training: duration of its backward passes, the exchange of gradients included
optimizer_ns integer Training: duration of the optimiser
warmup boolean Whether the request belongs to the warm-up; only after --warmup auto
""")

_KNOWN = {info.name: info for info in (*CELL, *COMPARED, *PLANNED)}


def column(name: str) -> ColumnInfo | None:
    """What is known about a column. None for one that a user's own model added."""
    if name in _KNOWN:
        return _KNOWN[name]
    return next((info for pattern, info in _FAMILIES if pattern.fullmatch(name)), None)
