"""Tests of launches on AWS Batch, against a server on this machine that answers as AWS does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import boto3
import botocore.session
import pytest
from batch_infrastructure import infrastructure
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters
from moto_server import REGION, aws, moto_server

from gpubench.cells.grid import parse_grids
from gpubench.errors import InputError
from gpubench.launch.manifest import Submission
from gpubench.launch.prepare import LaunchWishes, prepare
from gpubench.launch.services.aws_batch import AwsBatch
from gpubench.launch.services.service import Launch, MachineFleet

__all__ = ["aws", "infrastructure", "moto_server"]

SERVICE = AwsBatch(
    queues={"g5.xlarge": "gpus", "c7i.xlarge": "cpus"}, job_definitions={None: "worker"}
)


def a_launch(url: str = "s3://bucket/run", **wishes: Any) -> Launch:
    grid = {"model": "resnet50", "batch": [1, 2, 4], "instance": ["g5.xlarge", "c7i.xlarge"]}
    prepared = prepare(
        parse_grids(grid, "test"), "memory://none", LaunchWishes(name="study", **wishes)
    )
    assert prepared.launch is not None
    return replace(prepared.launch, url=url)


def client() -> Any:
    return boto3.client("batch", region_name=REGION)


def test_the_requests_fit_the_model_of_the_api() -> None:
    shape = botocore.session.get_session().get_service_model("batch")
    input_shape = shape.operation_model("SubmitJob").input_shape
    for wishes in ({}, {"machines": 3}, {"max_usd": 5.0, "spot": True}, {"allow_code": True}):
        launch = a_launch(**wishes)
        for fleet in launch.fleets:
            validate_parameters(SERVICE.request(launch, fleet), input_shape)


def test_a_job_has_the_whole_machine_to_itself() -> None:
    launch = a_launch(machines=3, max_usd=5.0)
    g5, c7i = (SERVICE.request(launch, fleet) for fleet in launch.fleets)
    assert g5["jobName"] == "gpubench-study-g5-xlarge"
    assert (g5["jobQueue"], c7i["jobQueue"]) == ("gpus", "cpus")
    assert g5["arrayProperties"] == {"size": 3}
    wanted = {
        each["type"]: each["value"] for each in g5["containerOverrides"]["resourceRequirements"]
    }
    assert wanted == {"VCPU": "4", "MEMORY": str(int(16 * 1024 * 0.9)), "GPU": "1"}
    assert "GPU" not in str(c7i["containerOverrides"]["resourceRequirements"])
    limit_s = launch.fleets[0].time_limit_s
    assert g5["timeout"] == {"attemptDurationSeconds": limit_s}
    command = g5["containerOverrides"]["command"]
    # The entry point of the image is gpubench.
    assert command[:4] == ["worker", "s3://bucket/run", "--launch", "study"]
    assert command[-2:] == ["--max-time", f"{limit_s}s"]


def test_one_machine_is_no_array() -> None:
    launch = a_launch()
    request = SERVICE.request(launch, launch.fleets[0])
    assert "arrayProperties" not in request
    assert "timeout" not in request


def matching_action(request: dict[str, Any], status_reason: str, exit_code: str) -> str:
    """What AWS Batch does, by its documentation: the first entry that fits decides."""
    given = {"onStatusReason": status_reason, "onExitCode": exit_code, "onReason": ""}
    for entry in request["retryStrategy"]["evaluateOnExit"]:
        conditions = {name: text for name, text in entry.items() if name != "action"}
        if all(
            given[name].startswith(text[:-1]) if text.endswith("*") else given[name] == text
            for name, text in conditions.items()
        ):
            return str(entry["action"])
    return "RETRY"


@pytest.mark.parametrize(
    ("reason", "status", "action"),
    [
        ("Host EC2 (instance i-0abc) terminated.", "", "RETRY"),
        ("Essential container in task exited", "143", "RETRY"),
        ("Essential container in task exited", "1", "EXIT"),
        ("Essential container in task exited", "2", "EXIT"),
        ("Essential container in task exited", "130", "EXIT"),
    ],
)
def test_only_what_may_help_is_started_again(reason: str, status: str, action: str) -> None:
    launch = a_launch(spot=True)
    request = SERVICE.request(launch, launch.fleets[0])
    assert matching_action(request, reason, status) == action


def test_code_is_allowed_only_if_the_launch_allows_it() -> None:
    assert "--allow-code" not in SERVICE.render(a_launch())
    assert SERVICE.render(a_launch(allow_code=True)).count("--allow-code") == 2


def test_what_is_printed_is_what_is_submitted() -> None:
    launch = a_launch(machines=2)
    printed = json.loads(SERVICE.render(launch))
    assert printed == [SERVICE.request(launch, fleet) for fleet in launch.fleets]


@pytest.mark.usefixtures("infrastructure")
def test_each_fleet_is_submitted_and_can_be_cancelled() -> None:
    launch = a_launch(machines=2)
    submissions = [SERVICE.submit(launch, fleet) for fleet in launch.fleets]
    assert [(each.instance, each.region) for each in submissions] == [
        ("g5.xlarge", REGION),
        ("c7i.xlarge", REGION),
    ]
    jobs = client().describe_jobs(jobs=[each.id for each in submissions])["jobs"]
    assert sorted(job["jobName"] for job in jobs) == [
        "gpubench-study-c7i-xlarge",
        "gpubench-study-g5-xlarge",
    ]
    assert {job["arrayProperties"]["size"] for job in jobs} == {2}
    for each in submissions:
        SERVICE.cancel(each)


@pytest.mark.usefixtures("infrastructure")
def test_a_queue_that_is_not_there_is_one_line() -> None:
    service = replace(SERVICE, queues={None: "nowhere"})
    launch = a_launch()
    with pytest.raises(InputError, match=r"AWS Batch refuses batch:SubmitJob: .*nowhere"):
        service.submit(launch, launch.fleets[0])


@pytest.mark.parametrize(
    ("service", "changes", "message"),
    [
        (replace(SERVICE, queues={}), {}, r"--queue: none is given for g5\.xlarge; add --queue"),
        (replace(SERVICE, job_definitions={}), {}, "--job-definition: none is given"),
        (replace(SERVICE, queues={None: "both"}), {}, r"g5\.xlarge and c7i\.xlarge share it"),
        (replace(SERVICE, queues={"g6.xlarge": "x"}), {}, r"--queue 'g6\.xlarge=x'"),
        (SERVICE, {"url": "/tmp/run"}, "machines of AWS Batch cannot reach this directory"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_asked(
    service: AwsBatch, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        service.check(a_launch(**changes))


def test_machines_of_other_clouds_and_too_many_are_refused() -> None:
    launch = a_launch()
    azure = MachineFleet("Standard_NC4as_T4_v3", 1, 1, provider="azure")
    with pytest.raises(InputError, match="a machine of azure"):
        SERVICE.check(replace(launch, fleets=(azure,)))
    many = MachineFleet("g5.xlarge", 10_001, 10_001, provider="aws")
    with pytest.raises(InputError, match="at most 10,000 jobs, not 10,001"):
        AwsBatch(queues={None: "q"}, job_definitions={None: "w"}).check(
            replace(launch, fleets=(many,))
        )


def test_two_regions_are_refused() -> None:
    launch = a_launch()
    fleet = replace(launch.fleets[0], region="eu-west-1")
    with pytest.raises(InputError, match="give the same region"):
        replace(SERVICE, region="us-east-1").submit(launch, fleet)


def cancel(region: str | None = "us-east-1") -> None:
    submission = Submission(service="aws-batch", instance=None, id="1", region=region)
    AwsBatch.cancel(submission)


@pytest.fixture
def no_configuration(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """AWS's libraries find neither a region nor credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def test_what_the_configuration_lacks_is_named(no_configuration: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no AWS region is known; add --region"):
        cancel(region=None)
    with pytest.raises(InputError, match="no AWS credentials were found"):
        cancel()
    no_configuration.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(InputError, match=r"cannot be asked: .*nobody"):
        cancel()


def test_an_endpoint_out_of_reach_is_one_line(no_configuration: pytest.MonkeyPatch) -> None:
    no_configuration.setenv("AWS_ACCESS_KEY_ID", "x")
    no_configuration.setenv("AWS_SECRET_ACCESS_KEY", "secret-value")
    no_configuration.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    no_configuration.setattr("time.sleep", lambda seconds: None)  # between two attempts
    with pytest.raises(
        InputError, match=r"cannot be asked: .*127\.0\.0\.1:9.*; check the network"
    ) as refused:
        cancel()
    assert "secret-value" not in str(refused.value)


def test_a_missing_permission_is_named(
    no_configuration: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def terminate_job(self, **_: object) -> None:
            error = {"Error": {"Code": "AccessDeniedException", "Message": "arn:aws:iam::1:user/x"}}
            raise ClientError(error, "TerminateJob")

    monkeypatch.setattr(boto3.session.Session, "client", lambda *_, **__: Refusing())
    with pytest.raises(InputError, match="does not allow batch:TerminateJob"):
        cancel()
