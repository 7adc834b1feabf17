"""The price of a million inferences, and the notes about the hardware."""

from __future__ import annotations

from typing import Any

import pytest
from factories import G5, result
from hypothesis import given
from hypothesis import strategies as st

from gpubench.errors import InputError
from gpubench.pricing import bundled_catalog
from gpubench.pricing.catalog import read_catalog
from gpubench.pricing.cost import (
    Hardware,
    accelerator_model,
    measured_hardware,
    price,
    reprice,
    usd_per_million,
)
from gpubench.spec.spec import Spec

TWO_CORES = Hardware(instance=None, accelerators=(), accelerators_used=0, cores=2)
positive = st.floats(1e-6, 1e9)


def gpus(
    name: str, total: int = 1, used: int = 1, cores: int = 16, instance: str | None = None
) -> Hardware:
    return Hardware(instance, (name,) * total, used, cores)


def test_the_formula_on_an_example_by_hand() -> None:
    # 3.60 USD an hour is 0.001 a second; at 100 a second a million takes 10,000 seconds.
    assert usd_per_million(3.60, 100.0) == pytest.approx(10.0)


def test_what_was_not_measured_has_no_price() -> None:
    [cost] = price(None, None, TWO_CORES, ["c7i.xlarge"])
    assert cost.usd_per_million is None
    assert cost.usd_per_million_interval is None
    assert cost.usd_per_hour == 0.1785
    assert usd_per_million(1.0, 0.0) is None


@given(throughput=positive, half=st.floats(0.001, 0.9), usd_per_hour=st.floats(1e-4, 1e4))
def test_the_interval_is_inverted_and_contains_the_price(
    throughput: float, half: float, usd_per_hour: float
) -> None:
    interval = (throughput * (1 - half), throughput * (1 + half))
    [cost] = price(throughput, interval, TWO_CORES, usd_per_hour=usd_per_hour)
    assert cost.usd_per_million is not None
    assert cost.usd_per_million_interval is not None
    low, high = cost.usd_per_million_interval
    assert low < cost.usd_per_million < high
    assert low == pytest.approx(usd_per_million(usd_per_hour, interval[1]))
    assert high == pytest.approx(usd_per_million(usd_per_hour, interval[0]))


def test_an_interval_that_reaches_zero_has_no_price_interval() -> None:
    [cost] = price(10.0, (0.0, 20.0), TWO_CORES, ["c7i.xlarge"])
    assert cost.usd_per_million_interval is None


def test_a_free_machine_costs_nothing() -> None:
    [cost] = price(10.0, (9.0, 11.0), TWO_CORES, usd_per_hour=0.0)
    assert cost.usd_per_million == 0.0
    assert cost.usd_per_million_interval == (0.0, 0.0)


def test_without_a_price_or_a_known_instance_there_is_no_cost() -> None:
    assert price(10.0, None, TWO_CORES) == []
    unlisted = Hardware("x9.strange", (), 0, 2)
    assert price(10.0, None, unlisted) == []


def test_the_machines_own_instance_is_the_default_and_was_measured_here() -> None:
    [cost] = price(723.0, None, gpus("NVIDIA A10G", instance="g5.4xlarge"))
    assert cost.instance == "g5.4xlarge"
    assert cost.measured_here is True
    assert cost.hardware_note is None
    assert not cost.extrapolated
    assert cost.price_as_of == "2026-07-20"
    assert cost.price_source is not None


def test_each_instance_is_priced_once_in_the_order_asked_and_a_price_by_hand_comes_last() -> None:
    costs = price(10.0, None, TWO_CORES, ["c7i.xlarge", "c7a.4xlarge", "c7i.xlarge"], 0.5)
    assert [cost.instance for cost in costs] == ["c7i.xlarge", "c7a.4xlarge", None]
    assert costs[-1].usd_per_hour == 0.5
    assert costs[-1].measured_here is None


def test_other_cores_than_the_vcpus_priced_are_other_hardware() -> None:
    [cost] = price(10.0, None, TWO_CORES, ["c7i.xlarge"])
    assert cost.measured_here is False
    assert cost.hardware_note == "4 vCPUs priced, 2 cores measured"
    assert not cost.extrapolated
    assert cost.usd_per_million == usd_per_million(0.1785, 10.0)


def test_equal_counts_do_not_prove_an_equal_machine() -> None:
    [cost] = price(10.0, None, Hardware(None, (), 0, 4), ["c7i.xlarge"])
    assert cost.measured_here is None
    assert cost.hardware_note is None


def test_another_instance_than_the_machines_own_was_not_measured_here() -> None:
    [cost] = price(10.0, None, Hardware("c7a.4xlarge", (), 0, 16), ["c7i.4xlarge"])
    assert cost.measured_here is False


def test_a_part_of_the_machines_own_instance_is_noted() -> None:
    [cost] = price(10.0, None, Hardware("c7i.xlarge", (), 0, 2), ["c7i.xlarge"])
    assert cost.measured_here is True
    assert cost.hardware_note == "4 vCPUs priced, 2 cores measured"


def test_one_gpu_of_several_is_multiplied_to_the_instance_that_is_billed() -> None:
    eight = gpus("NVIDIA H200", total=8, cores=192, instance="p5en.48xlarge")
    [cost] = price(1000.0, (990.0, 1010.0), eight)
    assert cost.extrapolated
    assert cost.measured_here is True
    assert cost.usd_per_million == pytest.approx(usd_per_million(63.296, 8000.0))
    assert cost.usd_per_million_interval == pytest.approx(
        (usd_per_million(63.296, 8080.0), usd_per_million(63.296, 7920.0))
    )


def test_all_gpus_of_the_instance_measured_are_priced_as_they_are() -> None:
    eight = gpus("NVIDIA H200", total=8, used=8, cores=192, instance="p5en.48xlarge")
    [cost] = price(8000.0, None, eight)
    assert not cost.extrapolated
    assert cost.hardware_note is None
    assert cost.usd_per_million == pytest.approx(usd_per_million(63.296, 8000.0))


def test_some_of_the_gpus_measured_count_for_all_and_are_marked() -> None:
    four_of_eight = gpus("NVIDIA H200", total=8, used=4, cores=192, instance="p5en.48xlarge")
    [cost] = price(4000.0, None, four_of_eight)
    assert cost.extrapolated
    assert cost.usd_per_million == pytest.approx(usd_per_million(63.296, 8000.0))


def test_more_gpus_than_are_priced_count_in_part_and_are_marked() -> None:
    four = gpus("NVIDIA A10G", total=4, used=4, cores=48, instance="g5.12xlarge")
    [cost] = price(400.0, None, four, ["g5.4xlarge"])
    assert cost.extrapolated
    assert cost.measured_here is False
    assert cost.usd_per_million == pytest.approx(usd_per_million(1.624, 100.0))


def test_a_machine_with_fewer_of_the_same_gpus_is_multiplied_and_marked() -> None:
    [cost] = price(100.0, None, gpus("NVIDIA A10G", instance="g5.4xlarge"), ["g5.12xlarge"])
    assert cost.extrapolated
    assert cost.measured_here is False
    assert cost.hardware_note == (
        "4 x A10G priced, 1 x NVIDIA A10G measured; 48 vCPUs priced, 16 cores measured"
    )
    assert cost.usd_per_million == pytest.approx(usd_per_million(5.672, 400.0))


def test_another_model_of_gpu_is_never_multiplied() -> None:
    [cost] = price(100.0, None, gpus("NVIDIA A10G"), ["g4dn.12xlarge"])
    assert not cost.extrapolated
    assert cost.measured_here is False
    assert cost.usd_per_million == usd_per_million(3.912, 100.0)


def test_a_cpu_measurement_is_never_multiplied_and_an_idle_gpu_is_noted() -> None:
    on_cpu = Hardware("g5.4xlarge", ("NVIDIA A10G",), 0, 16)
    [cost] = price(10.0, None, on_cpu)
    assert not cost.extrapolated
    assert cost.hardware_note == "1 x A10G priced, CPU measured"


def test_a_gpu_measurement_priced_on_a_cpu_instance_says_so() -> None:
    [cost] = price(10.0, None, gpus("Tesla T4"), ["c7i.4xlarge"])
    assert cost.measured_here is False
    assert cost.hardware_note == "no accelerator priced, 1 x Tesla T4 measured"


def test_usd_per_hour_is_the_price_of_the_measured_hardware_and_a_note_names_it() -> None:
    [cost] = price(100.0, None, gpus("NVIDIA H200", total=8, cores=192), usd_per_hour=4.0)
    assert not cost.extrapolated
    assert cost.usd_per_million == usd_per_million(4.0, 100.0)
    assert cost.hardware_note == "taken as the price of 1 of 8 x NVIDIA H200"


@pytest.mark.parametrize(
    ("device", "model"),
    [
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A10", "A10"),
        ("Tesla T4", "T4"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("Tesla V100-SXM2-16GB", "V100 16GB"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 NVL", "H100 NVL"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_the_drivers_name_of_a_gpu_leads_to_the_catalogs(device: str, model: str | None) -> None:
    assert accelerator_model(device, bundled_catalog().accelerators()) == model


def test_an_instance_without_a_price_asks_for_one_by_hand() -> None:
    header = (
        "provider,instance,region,accelerator,accelerator_count,accelerator_memory_gib,vcpus,"
        "memory_gib,on_demand_usd_per_hour,spot_usd_per_hour,as_of,source"
    )
    catalog = read_catalog([header, "aws,new.large,us-east-1,,0,,2,4,,,2026-07-20,list"])
    with pytest.raises(InputError, match="--usd-per-hour"):
        price(10.0, None, TWO_CORES, ["new.large"], catalog=catalog)
    assert price(10.0, None, Hardware("new.large", (), 0, 2), catalog=catalog) == []


def test_the_measured_hardware_of_a_result() -> None:
    def measured_on(**settings: Any) -> Hardware | None:
        made = result(**settings)
        return measured_hardware(made.spec, made.environment)

    assert measured_on() == TWO_CORES
    assert measured_on(machine=G5) == gpus("NVIDIA A10G", instance="g5.4xlarge")
    on_cpu = measured_on(machine=G5, device="cpu")
    assert on_cpu is not None
    assert on_cpu.accelerators_used == 0
    four = G5 | {"gpus": ["NVIDIA A10G"] * 4}
    assert measured_on(machine=four, device="cuda:1,cuda:3", workers=2) == gpus(
        "NVIDIA A10G", total=4, used=2, instance="g5.4xlarge"
    )


def test_a_server_is_not_priced_as_the_machine_of_its_client() -> None:
    client = result(10.0, machine=G5, server="grpc://gpu-1:8001/m", device="server")
    hardware = measured_hardware(client.spec, client.environment)
    assert hardware is None
    assert price(10.0, None, hardware) == []
    [cost] = price(10.0, (8.0, 12.0), hardware, ["g5.12xlarge"])
    assert (cost.measured_here, cost.extrapolated) == (None, False)
    assert cost.usd_per_million == pytest.approx(cost.usd_per_hour / 3600 / 10 * 1e6)
    assert cost.hardware_note == "taken as the price of the server, whose hardware is not known"
    [by_hand] = price(10.0, None, hardware, usd_per_hour=1.0)
    assert by_hand.hardware_note == cost.hardware_note


def test_an_old_result_is_priced_again_and_otherwise_unchanged() -> None:
    measured = result(10.0, instance="c7i.xlarge")
    assert reprice(measured, (), None) is measured
    again = reprice(measured, ("c7a.4xlarge",), None)
    assert [cost.instance for cost in again.costs] == ["c7a.4xlarge"]
    assert [cost.instance for cost in measured.costs] == ["c7i.xlarge"]


def test_a_cell_on_some_cores_is_priced_with_all_of_them_and_marked() -> None:
    spec = Spec(model="resnet50", device="cpu", cpus="0-1")
    machine = result(machine={"cpu": "c", "cores": 4, "instance": "c7i.xlarge"}).environment
    hardware = measured_hardware(spec, machine)
    [listed, by_hand] = price(10.0, None, hardware, ["c7i.xlarge"], usd_per_hour=0.1785)
    assert listed.usd_per_million == by_hand.usd_per_million == usd_per_million(0.1785, 10.0)
    assert (listed.measured_here, listed.extrapolated) == (True, False)
    assert listed.hardware_note == by_hand.hardware_note == "2 of 4 cores used"
    every_core = measured_hardware(spec.model_copy(update={"cpus": "0-3"}), machine)
    [cost] = price(10.0, None, every_core, ["c7i.xlarge"])
    assert cost.hardware_note is None
