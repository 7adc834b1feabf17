"""A plan in sentences: what to rent, what is next, and what speaks against what."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from gpubench.planning.candidates import Candidate, Obstacle, Unmet
from gpubench.planning.decision import Decision, DeploymentPlan
from gpubench.planning.measured import deployed_settings
from gpubench.report.format import count, milliseconds, number, seconds, two_digits, usd
from gpubench.report.notes import price_name
from gpubench.report.settings import measured_instance
from gpubench.results.result import Cost, Interval, Result
from gpubench.spec.objective import Objective
from gpubench.spec.spec import Spec
from gpubench.spec.workload import Workload

HOW_TO_PRICE = "no price is known: add --instance NAME (gpubench prices list), or --usd-per-hour X"

# Settings of a search that a command line would have, in the order of the help.
_SEARCH_FLAGS = (
    *("model", "weights", "input_shape", "dim", "inputs_file", "runtime", "precision"),
    *(
        "memory_format",
        "sparsity",
        "batch",
        "seq_len",
        "server",
        "inputs",
        "arrivals",
        "workers",
        "cpus",
        "cool_to",
        "dynamic_batch",
        "wait",
    ),
    *("service_time", "service_dist"),
)


def objective_text(objective: Objective) -> str:
    """'P95 within 100ms'."""
    return f"P{objective.percent} within {seconds(objective.latency_s)}"


def workload_text(workload: Workload) -> str:
    """'bert-base, sequence length 128'."""
    parts = [workload.model]
    if workload.weights != "random":
        parts.append(f"weights {workload.weights}")
    if workload.seq_len is not None:
        parts.append(f"sequence length {workload.seq_len}")
    if workload.input_shape is not None:
        parts.append(f"input shape {workload.input_shape}")
    if workload.dim is not None:
        parts.append(f"dimensions {workload.dim}")
    if workload.inputs_file is not None:
        parts.append(f"inputs from {workload.inputs_file}")
    if workload.service_time is not None:
        distribution = workload.service_dist or "constant"
        parts.append(f"service time {distribution} {seconds(workload.service_time)}")
    return ", ".join(parts)


def setting_text(spec: Spec) -> str:
    """'resnet50 in bf16 with onnxruntime, batch 1, 2 workers'."""
    parts = [spec.model]
    if not spec.synthetic:
        server = f" at {spec.server}" if spec.served else ""
        parts = [f"{spec.model} in {spec.precision} with {spec.runtime}{server}"]
        if spec.memory_format != "contiguous":
            parts.append(spec.memory_format)
        if spec.sparsity != "none":
            parts.append(f"{spec.sparsity} sparsity")
    parts.append(f"batch {spec.batch}")
    if spec.dynamic_batch is not None:
        parts.append(f"dynamic batch {spec.dynamic_batch}")
    if spec.workers is not None:
        parts.append(count(spec.workers, "worker"))
    if spec.cpus is not None:
        parts.append(f"cores {spec.cpus}")
    if len(spec.devices) > 1:
        parts.append(f"{len(spec.devices)} GPUs")
    if spec.open_loop and spec.arrivals != "poisson":
        parts.append(f"{spec.arrivals} arrivals")
    return ", ".join(parts)


def what_differs(candidate: Candidate, other: Candidate) -> str:
    """The settings and the software that differ: 'threads 1, torch 2.14'. Those of `other`."""
    mine, others = deployed_settings(candidate.spec), deployed_settings(other.spec)
    parts = [
        f"{name.replace('_', ' ')} {value}" for name, value in others.items() if mine[name] != value
    ]
    mine, others = (each.result.environment.model_dump() for each in (candidate, other))
    parts += [
        f"{name} {value}"
        for name, value in others.items()
        if name != "time" and mine.get(name) != value
    ]
    return ", ".join(parts)


def place_text(result: Result, cost: Cost | None) -> str:
    """Where a candidate would run: 'on c7i.xlarge', 'on this machine at $0.5/h'."""
    if cost is not None and cost.instance is not None:
        return f"on {price_name(cost)}"
    unnamed = "its server" if result.spec.served else "the machine measured"
    machine = f"on {measured_instance(result) or unnamed}"
    if cost is None:
        return machine
    return f"{machine}, owned" if cost.owned else f"{machine} {price_name(cost)}"


def rate_text(candidate: Candidate, objective: Objective) -> str:
    """'31.0 inferences/s each with P95 within 100ms', or 'at least ..., with P95 67.0 ms'."""
    rate = f"{number(candidate.rate_per_second, 3)} inferences/s each"
    percentile = f"P{objective.percent}"
    match candidate.bound:
        case "estimate":
            return f"{rate} with {objective_text(objective)}{_without_interval(candidate)}"
        case "at-least" if candidate.point.search is not None:
            return f"at least {rate} with {objective_text(objective)}{_without_interval(candidate)}"
        case "at-least":
            figure = f"{percentile} {milliseconds(candidate.latency_ms)} ms"
            return f"at least {rate}, with {figure}{_uncertain(candidate)}"
        case "at-most":
            return (
                f"at most {rate} (closed loop, {percentile} "
                f"{milliseconds(candidate.latency_ms)} ms)"
            )
        case _:
            return f"{rate} in a closed loop ({percentile} {milliseconds(candidate.latency_ms)} ms)"


def _without_interval(candidate: Candidate) -> str:
    """Why the rate of a search has no interval, if it has none."""
    search = candidate.point.search
    if candidate.interval is not None or search is None or search.note is None:
        return ""
    return f" (no interval: {search.note})"


def _uncertain(candidate: Candidate) -> str:
    """What the upper bound of the percentile says, if it does not meet the objective."""
    if candidate.is_certain:
        return ""
    at_most = candidate.point.at_most_ms
    if at_most is None:
        return " (its upper bound is not known)"
    return f" (with 95% confidence it is at most {milliseconds(at_most)} ms)"


def cost_text(candidate: Candidate) -> str:
    """'$1.55 a million (1.53 to 1.57)', or 'at most $1.55 a million'."""
    cost = candidate.cost
    if cost is None or cost.usd_per_million is None:
        return HOW_TO_PRICE
    text = f"${usd(cost.usd_per_million)} a million"
    if candidate.bound != "estimate":
        before = {"at-least": "at most ", "at-most": "at least "}.get(candidate.bound, "")
        return before + text
    interval = cost.usd_per_million_interval
    return text if interval is None else f"{text} ({usd(interval[0])} to {usd(interval[1])})"


def obstacle_text(obstacle: Obstacle, candidate: Candidate) -> str:
    """What an obstacle means for this candidate, as a clause."""
    match obstacle:
        case "closed-loop":
            if candidate.bound == "none":
                return "only a closed loop was measured, whose clients do not keep all workers busy"
            return "only a closed loop was measured"
        case "suspect":
            codes = ", ".join(reason.code for reason in candidate.point.verdict.reasons)
            return f"its verdict is suspect ({codes})" if codes else "its verdict is suspect"
        case "outputs-differ":
            return "its outputs differ from those of the fp32 model"
        case "accuracy-drop":
            return "its accuracy drops by more than --max-drop, or may do so"
        case "other-hardware":
            name = price_name(candidate.cost) if candidate.cost else "the instance"
            if candidate.result.spec.served:
                return f"the server does not say whether it is a {name}"
            if candidate.cost is not None and candidate.cost.measured_here is None:
                return f"the machine measured does not say whether it is a {name}"
            return f"it was not measured on {name}"
        case _:
            return "its rate was multiplied from the GPUs measured to those of the instance"


def sentences(plan: DeploymentPlan) -> list[str]:
    """The answer for each workload."""
    found = [decision_sentence(each, plan) for each in plan.decisions]
    if len(found) > 1:
        found.append("These are different models or inputs, so their costs are not compared.")
    return found


def decision_sentence(decision: Decision, plan: DeploymentPlan) -> str:
    """The answer for one workload."""
    winner = decision.winner
    if winner is not None:
        return " ".join(
            [
                f"Deploy {_offer(winner, plan.objective)}.",
                *_allowed(winner),
                *_next(decision),
                *_cheaper(decision),
            ]
        )
    if decision.best_with_obstacles is not None:
        return _no_winner(decision, decision.best_with_obstacles, plan)
    return _unmet(decision, plan.objective)


def _offer(candidate: Candidate, objective: Objective) -> str:
    where = place_text(candidate.result, candidate.cost)
    cost = cost_text(candidate)
    separator = "; " if candidate.cost is None else ", "
    return (
        f"{setting_text(candidate.spec)}, {where}: {rate_text(candidate, objective)}"
        f"{separator}{cost}"
    )


def _allowed(winner: Candidate) -> list[str]:
    """What speaks against the winner, and was allowed."""
    if not winner.obstacles:
        return []
    return [f"You allowed that {_and(obstacle_text(each, winner) for each in winner.obstacles)}."]


def _and(clauses: Iterable[str]) -> str:
    """'a', 'a, and b', 'a, b, and c'."""
    *first, last = clauses
    return ", and ".join([", ".join(first), last] if first else [last])


def _next(decision: Decision) -> list[str]:
    winner, other = decision.winner, decision.next_best
    if winner is None or other is None:
        return []
    where = place_text(other.result, other.cost)
    setting = setting_text(other.spec)
    if (setting, where) == (setting_text(winner.spec), place_text(winner.result, winner.cost)):
        setting = f"the same with {what_differs(winner, other)}"
    text = f"Next best: {setting}, {where}: {cost_text(other)}"
    if winner.usd_per_million and other.usd_per_million:
        more = other.usd_per_million / winner.usd_per_million - 1
        text += f", {two_digits(more)} more" if more > 0 else ", the same"
    return [f"{text}.", *_told_apart(winner, other)]


def _told_apart(winner: Candidate, other: Candidate) -> list[str]:
    intervals = _cost_interval(winner), _cost_interval(other)
    if winner.cost is None or other.cost is None:
        return []
    if intervals[0] is None or intervals[1] is None:
        return ["Without an interval of both costs it is not known whether they really differ."]
    if intervals[0][1] >= intervals[1][0]:
        return ["Their intervals overlap, so these results do not tell the two apart."]
    return []


def _cost_interval(candidate: Candidate) -> Interval | None:
    return candidate.cost.usd_per_million_interval if candidate.cost else None


def _cheaper(decision: Decision) -> list[str]:
    """What would be cheaper than the winner and may not win."""
    other = decision.best_with_obstacles
    if other is None:
        return []
    against = _and(obstacle_text(each, other) for each in other.obstacles)
    where = place_text(other.result, other.cost)
    return [
        f"{setting_text(other.spec)}, {where}, may be cheaper ({cost_text(other)}), but {against}."
    ]


def _no_winner(decision: Decision, best: Candidate, plan: DeploymentPlan) -> str:
    left = [each for each in best.obstacles if each not in plan.allowed]
    if not left:
        return (
            f"Which setting of {workload_text(decision.workload)} is the cheapest is not known: "
            "several machines were measured, and no price of them is known. Add --instance "
            "NAME,NAME (gpubench prices list)."
        )
    first = "Fastest" if best.cost is None else "Cheapest"
    return " ".join(
        [
            f"{first} until now: {_offer(best, plan.objective)}.",
            f"It cannot be recommended: {_and(obstacle_text(each, best) for each in left)}.",
            *_dropped(decision),
            _remedy(best, left, plan),
        ]
    )


def _dropped(decision: Decision) -> list[str]:
    """Settings that were not searched to the end, and might be recommended."""
    dropped = sum(each.reason == "pruned" for each in decision.unmet)
    if not dropped:
        return []
    return [
        f"A sweep dropped {count(dropped, 'other setting')} as slower; gpubench search measures "
        "each to the end."
    ]


def _remedy(best: Candidate, left: Sequence[Obstacle], plan: DeploymentPlan) -> str:
    """What would remove the obstacles, and how to decide in spite of them."""
    if best.result.spec.served and "other-hardware" in left:
        # Nothing that is measured says what hardware a server has.
        name = price_name(best.cost) if best.cost is not None else "that instance"
        others = [each for each in left if each != "other-hardware"]
        allow = f"If the server is a {name}, add --allow other-hardware."
        return f"{allow} {_remedy(best, others, plan)}" if others else allow
    accept = f"accept it with --allow {','.join(left)}"
    name = price_name(best.cost) if best.cost is not None else "the instance"
    if "other-hardware" in left or "closed-loop" in left:
        where = f" on {name}" if "other-hardware" in left else ""
        return f"Either {accept}, or run this{where}: {search_command(best, plan)}"
    remedy = f"measure all GPUs of {name}, with --device all"
    if "suspect" in left:
        remedy = "read its reasons with gpubench report, and measure it again"
    elif "outputs-differ" in left or "accuracy-drop" in left:
        remedy = "choose another --precision or --runtime"
    return f"Either {accept}, or {remedy}."


def search_command(candidate: Candidate, plan: DeploymentPlan) -> str:
    """The search that measures what a closed loop cannot say."""
    spec, cost = candidate.spec, candidate.cost
    words = ["gpubench", "search"]
    for name in _SEARCH_FLAGS:
        field = Spec.model_fields[name]
        value = getattr(spec, name)
        if value is not None and (field.is_required() or value != field.default):
            is_time = name == "service_time"
            text = seconds(value) if is_time else str(value)
            words += [f"--{name.replace('_', '-')}", shlex.quote(text)]
    if len(spec.devices) > 1:
        words += ["--device", spec.device]
    if cost is not None and cost.instance is not None:
        words += ["--instance", cost.instance]
    objective = plan.objective
    words += ["--objective", f"p{objective.percent}:{seconds(objective.latency_s)}"]
    words += ["--output", shlex.quote(plan.directories[0]) if plan.directories else "DIR"]
    return " ".join(words)


def _unmet(decision: Decision, objective: Objective) -> str:
    best = min(decision.unmet, key=lambda each: each.reason == "pruned")
    subject = workload_text(decision.workload)
    if best.reason == "missed":
        return (
            f"No setting of {subject} meets {objective_text(objective)}. The lowest "
            f"P{objective.percent} that was measured is {milliseconds(best.latency_ms)} ms, by "
            f"{setting_text(best.result.spec)}, {_load_text(best)}."
        )
    if best.reason == "pruned":
        return f"No setting of {subject} was searched to the end: {best.note}."
    if best.reason == "failed":
        return f"Every measurement of {subject} failed; the last one with: {best.note}."
    return (
        f"The P{objective.percent} of {subject} is not known, because too few requests were "
        "measured; raise --requests or --duration, and measure again."
    )


def _load_text(unmet: Unmet) -> str:
    spec = unmet.result.spec
    if spec.open_loop:
        return f"at {number(unmet.at_rate_per_second, 3)} inferences/s"
    return f"with {count(spec.clients or 1, 'client')} in a closed loop"
