"""The price of a million inferences, from the throughput and the price of an hour.

    usd_per_million = usd_per_hour / 3600 / throughput * 1e6

Pure functions. One measurement can be priced on any number of instances. If an instance is not the
hardware that was measured, the cost says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gpubench.errors import InputError
from gpubench.pricing.catalog import Catalog, Instance
from gpubench.pricing.owned import Owned
from gpubench.pricing.price_files import current_catalog
from gpubench.results.result import Cost, Environment, Interval, Result
from gpubench.results.search_result import SearchResult
from gpubench.spec.cpus import parse_cpus
from gpubench.spec.spec import MOST_USD_PER_HOUR, Spec

# The hardware note of a price for a model on a server.
_UNKNOWN_HARDWARE = "taken as the price of the server, whose hardware is not known"


@dataclass(frozen=True)
class Hardware:
    """The hardware on which a throughput was measured."""

    instance: str | None  # the instance type, if the machine tells it
    accelerators: tuple[str, ...]  # every GPU of the machine, as the driver names it
    accelerators_used: int  # how many of them were measured; 0: the CPU was measured
    cores: int  # that the process could use
    cores_used: int | None = None  # of them, those of --cpus; None: all


def measured_hardware(spec: Spec, environment: Environment) -> Hardware | None:
    """The hardware that a cell was measured on, for its spec with all defaults filled in.

    None if a server executed the model: the environment is then that of the client.
    """
    if spec.served:
        return None
    return Hardware(
        instance=environment.instance,
        accelerators=tuple(environment.gpus),
        accelerators_used=_accelerators_used(spec, environment),
        cores=environment.cores,
        cores_used=None if spec.cpus is None else len(parse_cpus(spec.cpus)),
    )


def _accelerators_used(spec: Spec, environment: Environment) -> int:
    if spec.device == "cpu":
        return 0
    if spec.device == "neuron":  # the workers are spread over all chips
        return len(environment.gpus)
    return len(spec.devices)


def price(
    throughput_per_second: float | None,
    throughput_interval: Interval | None,
    hardware: Hardware | None,
    instances: Sequence[str] = (),
    usd_per_hour: float | None = None,
    catalog: Catalog | None = None,
    owned: Owned | None = None,
    measured_w: float | None = None,
    dataset_size: int | None = None,
) -> list[Cost]:
    """Price one measurement on each of `instances`, at `usd_per_hour`, and on `owned` hardware.

    An instance is named as `gpubench.pricing.names` says. If no price is given, the measurement is
    priced on the instance that the machine says it is. The list is empty if the machine does not
    tell its instance type, or if the catalog has no price for it. Without `hardware` it is unknown
    what was measured, so it is not compared with an instance. `usd_per_hour` and `owned` are about
    the hardware that was measured, so they are never extrapolated. `measured_w` is the mean power
    of its GPUs, or of its CPU packages if the CPU was measured. Owned hardware needs it if its
    power is not given. With `dataset_size` each cost has the price of an epoch, which is training
    on this many samples.

    Raises InputError for an instance that is not in the catalog or has no price there, for a price
    that is negative, not a number, or over a thousand million dollars, and if the power of owned
    hardware is unknown.
    """
    is_number = isinstance(usd_per_hour, (int, float))  # a program may give anything
    if usd_per_hour is not None and not (is_number and 0 <= usd_per_hour <= MOST_USD_PER_HOUR):
        raise InputError(f"--usd-per-hour {usd_per_hour} is not a price; write dollars, like 0.25")
    catalog = catalog or current_catalog()
    if not instances and usd_per_hour is None and owned is None:
        instances = _detected(hardware, catalog)
    costs = [
        _price_on(name, throughput_per_second, throughput_interval, hardware, catalog)
        for name in dict.fromkeys(instances)
    ]
    by_hand: list[tuple[float, str | None]] = []
    if usd_per_hour is not None:
        by_hand.append((usd_per_hour, None))
    if owned is not None:
        of = "CPU packages" if hardware is not None and not hardware.accelerators_used else "GPUs"
        by_hand.append((owned.usd_per_hour(measured_w), owned.source(measured_w, of)))
    costs += [
        Cost(
            instance=None,
            owned=source is not None,
            measured_here=None,
            usd_per_hour=usd,
            usd_per_million=usd_per_million(usd, throughput_per_second),
            usd_per_million_interval=_cost_interval(usd, throughput_interval),
            price_source=source,
            hardware_note="; ".join(filter(None, (_share_note(hardware), _idle_cores(hardware))))
            or None,
        )
        for usd, source in by_hand
    ]
    if dataset_size is None:
        return costs
    return [_with_epoch(cost, dataset_size) for cost in costs]


def _with_epoch(cost: Cost, samples: int) -> Cost:
    per_million = cost.usd_per_million
    epoch = None if per_million is None else per_million / 1e6 * samples
    return cost.model_copy(update={"usd_per_epoch": epoch})


def costs(
    result: Result,
    instances: Sequence[str] = (),
    usd_per_hour: float | None = None,
    owned: Owned | None = None,
) -> list[Cost]:
    """The costs of a result. If no price is given here, those that its spec asks for are used.

    Raises InputError as `price` does.
    """
    if not instances and usd_per_hour is None and owned is None:
        instances, usd_per_hour = result.spec.instance, result.spec.usd_per_hour
    return price(
        result.throughput_per_second,
        result.throughput_interval,
        measured_hardware(result.spec, result.environment),
        instances,
        usd_per_hour,
        owned=owned,
        measured_w=result.power_w,
        dataset_size=result.spec.dataset_size,
    )


def check_prices(instances: Sequence[str]) -> None:
    """Raises InputError as `costs` does, before anything is measured."""
    price(None, None, Hardware(None, (), 0, 1), instances)


def check_machines(spec: Spec) -> None:
    """Raises InputError if the instances of a cell cannot be the machines that measure it."""
    check_prices(spec.instance)
    if spec.served and spec.instance:
        raise InputError(
            "--instance: it is the price of the server, and the machines here only send its "
            "requests; measure a model on a server with gpubench sweep on one machine"
        )


def reprice(
    result: Result,
    instances: Sequence[str],
    usd_per_hour: float | None,
    owned: Owned | None = None,
) -> Result:
    """The result with new costs; unchanged if no price is given. Raises as `costs` does."""
    if not instances and usd_per_hour is None and owned is None:
        return result
    return result.model_copy(update={"costs": costs(result, instances, usd_per_hour, owned)})


def search_costs(found: SearchResult, owned: Owned | None = None) -> list[Cost]:
    """The costs of inferences at the highest rate of a search."""
    if found.max_rate_per_second is None or not found.probes:
        return []
    batch = found.spec.batch
    interval = found.interval and (found.interval[0] * batch, found.interval[1] * batch)
    return price(
        found.max_rate_per_second * batch,
        interval,
        measured_hardware(found.spec, found.probes[-1].result.environment),
        found.spec.instance,
        found.spec.usd_per_hour,
        owned=owned,
        measured_w=_power_near_the_rate_w(found),
    )


def reprice_search(
    found: SearchResult,
    instances: Sequence[str],
    usd_per_hour: float | None,
    owned: Owned | None = None,
) -> SearchResult:
    """The search with new costs; unchanged if no price is given. Raises as `price` does."""
    if not instances and usd_per_hour is None and owned is None:
        return found
    prices = {"instance": tuple(instances), "usd_per_hour": usd_per_hour}
    priced = found.model_copy(update={"spec": found.spec.model_copy(update=prices)})
    priced.costs = search_costs(priced, owned)
    return priced


def _power_near_the_rate_w(found: SearchResult) -> float | None:
    """The mean power in the probes from which the highest rate comes."""
    near = [probe.result.power_w for probe in found.probes if probe.near]
    known = [power_w for power_w in near if power_w is not None]
    return sum(known) / len(known) if known else None


def usd_per_million(usd_per_hour: float, throughput_per_second: float | None) -> float | None:
    """Price of a million inferences in USD. None if the throughput is unknown or zero.

    Also None if the price is too large for a floating-point number.
    """
    if not throughput_per_second:
        return None
    figure = usd_per_hour / 3600 / throughput_per_second * 1e6
    return figure if math.isfinite(figure) else None


def _cost_interval(usd_per_hour: float, throughput: Interval | None) -> Interval | None:
    """The interval of the cost. The high end of the throughput gives its low end.

    None if the throughput may be zero, because the cost then has no high end.
    """
    if throughput is None or throughput[0] <= 0:
        return None
    low = usd_per_million(usd_per_hour, throughput[1])
    high = usd_per_million(usd_per_hour, throughput[0])
    return None if low is None or high is None else (low, high)


def _detected(hardware: Hardware | None, catalog: Catalog) -> list[str]:
    """The name of the price of the machine's own instance. Empty if it has none, or several."""
    if hardware is None:
        return []
    try:
        instance, _, _ = catalog.find_price(hardware.instance or "")
    except InputError:
        return []
    return [f"{instance.qualified_name}@{instance.region}"]


def _price_on(
    name: str,
    throughput: float | None,
    interval: Interval | None,
    hardware: Hardware | None,
    catalog: Catalog,
) -> Cost:
    instance, term, usd_per_hour = catalog.find_price(name)
    scale, here, differences = 1.0, None, [_UNKNOWN_HARDWARE]
    if hardware is not None:
        scale = _whole_instance(instance, hardware, catalog)
        differences = _differences(instance, hardware, catalog)
        here = _measured_here(instance, hardware, differences)
    if throughput is not None:
        throughput *= scale
    if interval is not None:
        interval = (interval[0] * scale, interval[1] * scale)
    return Cost(
        instance=instance.name,
        region=instance.region,
        term=term,
        measured_here=here,
        extrapolated=scale != 1,
        usd_per_hour=usd_per_hour,
        usd_per_million=usd_per_million(usd_per_hour, throughput),
        usd_per_million_interval=_cost_interval(usd_per_hour, interval),
        price_as_of=instance.price_as_of(term),
        price_source=instance.source,
        hardware_note="; ".join(filter(None, (*differences, _idle_cores(hardware)))) or None,
    )


def _measured_here(
    instance: Instance, hardware: Hardware, differences: Sequence[str]
) -> bool | None:
    if hardware.instance is not None:
        return hardware.instance == instance.name
    # Machines with equal counts may differ. So it is unknown if the machine does not tell.
    return False if differences else None


def _whole_instance(instance: Instance, hardware: Hardware, catalog: Catalog) -> float:
    """The factor from the measured throughput to that of the whole instance.

    An instance is billed with all its GPUs. If one of N GPUs of the same model was measured, the
    factor is N. CPUs share memory and caches, so a CPU measurement is never multiplied.
    """
    if hardware.accelerators_used == 0 or instance.accelerator is None:
        return 1.0
    if _models(hardware, catalog) != {instance.accelerator}:
        return 1.0
    return instance.accelerator_count / hardware.accelerators_used


def _differences(instance: Instance, hardware: Hardware, catalog: Catalog) -> list[str]:
    """How the priced hardware differs from the measured, each as 'X priced, Y measured'."""
    differences = []
    if hardware.accelerators_used == 0:
        if instance.accelerator is not None:
            differences.append(f"{_priced_accelerators(instance)} priced, CPU measured")
    elif instance.accelerator is None:
        differences.append(f"no accelerator priced, {_measured_accelerators(hardware)} measured")
    elif (
        _models(hardware, catalog) != {instance.accelerator}
        or len(hardware.accelerators) != instance.accelerator_count
    ):
        differences.append(
            f"{_priced_accelerators(instance)} priced, {_measured_accelerators(hardware)} measured"
        )
    if instance.vcpus is not None and instance.vcpus != hardware.cores:
        differences.append(f"{instance.vcpus} vCPUs priced, {_cores(hardware.cores)} measured")
    return differences


def _share_note(hardware: Hardware | None) -> str | None:
    """The hardware that --usd-per-hour is the price of, if some GPUs of the machine were idle."""
    if hardware is None:
        return _UNKNOWN_HARDWARE
    if hardware.accelerators_used in {0, len(hardware.accelerators)}:
        return None
    return f"taken as the price of {_measured_accelerators(hardware)}"


def _idle_cores(hardware: Hardware | None) -> str | None:
    """That the price is for all cores, although --cpus left some of them idle."""
    if hardware is None or hardware.cores_used is None or hardware.cores_used >= hardware.cores:
        return None
    return f"{hardware.cores_used} of {_cores(hardware.cores)} used"


def _priced_accelerators(instance: Instance) -> str:
    return f"{instance.accelerator_count} x {instance.accelerator}"


def _measured_accelerators(hardware: Hardware) -> str:
    names = list(dict.fromkeys(hardware.accelerators))
    all_of_them = ", ".join(f"{hardware.accelerators.count(name)} x {name}" for name in names)
    if hardware.accelerators_used == len(hardware.accelerators):
        return all_of_them
    return f"{hardware.accelerators_used} of {all_of_them}"


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"


def _models(hardware: Hardware, catalog: Catalog) -> set[str | None]:
    known = catalog.accelerators()
    return {accelerator_model(name, known) for name in hardware.accelerators}


def accelerator_model(device_name: str, known: frozenset[str]) -> str | None:
    """The catalog's name of a GPU that the driver calls `device_name`. None if not in `known`.

    The driver's name contains all words of the catalog's name, and the longest such name is chosen:
    "Tesla T4" is T4, "NVIDIA A100-SXM4-80GB" is A100 80GB, "NVIDIA H100 NVL" is H100 NVL and not
    H100. A MIG slice is not a whole GPU, so it has no name.
    """
    words = set(re.split(r"[^A-Z0-9]+", device_name.upper()))
    if "MIG" in words:
        return None
    candidates = [model for model in known if set(model.upper().split()) <= words]
    return max(candidates, key=lambda model: (len(model.split()), model), default=None)
