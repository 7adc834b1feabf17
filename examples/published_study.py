"""Published figures as run directories, so that `compare`, `report` and `plan` read them.

python examples/published_study.py results/published

gpubench compare results/published/g5_vs_g4dn/g5.4xlarge results/published/g5_vs_g4dn/g4dn.4xlarge
gpubench report results/published/yolov5/g5.xlarge

The folder `published` beside this file has the figures as they are printed. Nothing is measured
here: each document is suspect, with the reason `published-figures`. What a publication does not
print is absent. Settings that are not in the tables (runtime, warm-up, seed, wait) are those of
gpubench by default and say nothing about the publication. These are assumptions:

| table | printed | assumed |
|---|---|---|
| g5_vs_g4dn.csv | instance, batch size, throughput, P95 | one request in flight, since batch / P95 is near the throughput; "full" is written as fp32 and "mixed" as amp; inputs on the GPU |
| bert_large.csv | family, batch size, precision, throughput | the smallest instance of the family; one request in flight |
| yolov5.csv | family, times of three stages, GFLOP, parameters | the smallest instance of the family; one request in flight, whose latency is the sum of the three mean times; its throughput follows from it; fp32 |

docs/published_studies.md says what the figures show.
"""  # noqa: E501

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from gpubench import Spec
from gpubench.pricing import bundled_catalog
from gpubench.pricing.cost import costs
from gpubench.results.result import (
    EngineInfo,
    Environment,
    Harness,
    Latency,
    Reason,
    Result,
    Verdict,
)
from gpubench.results.run_directory import open_run
from gpubench.spec.settings import Precision

TABLES = Path(__file__).parent / "published"

NOT_MEASURED = Reason(
    code="published-figures",
    figure=None,
    limit=None,
    remedy="figures as a publication prints them; measure on the instance to know",
)

GPUS = {"A10G": "NVIDIA A10G", "T4": "Tesla T4"}  # as the driver names them
SMALLEST = {"g5": "g5.xlarge", "g4dn": "g4dn.xlarge"}
PRECISIONS: dict[str, Precision] = {"full": "fp32", "mixed": "amp", "fp32": "fp32", "fp16": "fp16"}
PRESETS = {"bert-base-uncased": "bert-base"}

Row = dict[str, str]


def main(folder: str) -> None:
    """Write a run directory for each table and instance."""
    for table, results in (
        ("g5_vs_g4dn", g5_vs_g4dn()),
        ("bert_large", bert_large()),
        ("yolov5", yolov5()),
    ):
        for result in results:
            instance = result.spec.instance[0]
            run = open_run(f"{folder}/{table}/{instance}")
            run.check_writable()
            run.write(result.spec.key(instance), result)
    print(f"written to {folder}; nothing of it was measured")


def g5_vs_g4dn() -> Iterator[Result]:
    for row in rows("g5_vs_g4dn.csv"):
        spec = Spec(
            model=PRESETS.get(row["model"], row["model"]),
            seq_len=int(row["sequence_length"]) if row["sequence_length"] else None,
            precision=PRECISIONS[row["precision"]],
            batch=int(row["batch"]),
            inputs="device",
            device="cuda:0",
            clients=1,
            workers=1,
            depth=1,
            instance=row["instance"],
        )
        latency = Latency(p95=float(row["p95_latency_ms"]))
        throughput = float(row["throughput_per_second"])
        yield published(spec, throughput, latency, stated_instance=row["instance"])


def bert_large() -> Iterator[Result]:
    for row in rows("bert_large.csv"):
        spec = Spec(
            model=row["model"],
            seq_len=int(row["sequence_length"]),
            precision=PRECISIONS[row["precision"]],
            batch=int(row["batch"]),
            device="cuda:0",
            clients=1,
            workers=1,
            depth=1,
            instance=SMALLEST[row["instance_family"]],
        )
        yield published(spec, float(row["throughput_sequences_per_second"]), Latency())


def yolov5() -> Iterator[Result]:
    for row in rows("yolov5.csv"):
        spec = Spec(
            model=f"yolov5:{row['model']}",
            device="cuda:0",
            clients=1,
            workers=1,
            depth=1,
            instance=SMALLEST[row["instance_family"]],
        )
        latency_ms = sum(
            float(row[name]) for name in ("preprocess_ms", "inference_ms", "nms_ms_per_image")
        )
        engine = EngineInfo(
            weights="unknown",
            parameters=round(float(row["parameters_millions"]) * 1e6),
            flops=float(row["gflops"]) * 1e9,
        )
        yield published(spec, 1000 / latency_ms, Latency(mean=latency_ms), engine)


def published(
    spec: Spec,
    throughput_per_second: float,
    latency: Latency,
    engine: EngineInfo | None = None,
    stated_instance: str | None = None,
) -> Result:
    """The document of one printed row."""
    instance = bundled_catalog().find(spec.instance[0])
    result = Result(
        spec=spec,
        environment=Environment(
            time=datetime.now(UTC).isoformat(timespec="seconds"),  # of this document
            gpubench="not used",
            python="not printed",
            cpu="an unknown CPU",
            cores=instance.vcpus or 1,
            gpus=[GPUS[instance.accelerator or ""]],
            instance=stated_instance,
        ),
        engine=engine or EngineInfo(weights="unknown"),
        throughput_per_second=throughput_per_second,
        latency_ms=latency,
        harness=Harness(executor="python"),
        verdict=Verdict(status="suspect", reasons=[NOT_MEASURED]),
    )
    result.costs = costs(result)
    return result


def rows(name: str) -> list[Row]:
    with (TABLES / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python examples/published_study.py FOLDER")
    main(sys.argv[1])
