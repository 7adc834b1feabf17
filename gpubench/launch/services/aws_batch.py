"""Launches a sweep on AWS Batch: a job, or an array job, for each type of instance.

The queue and the job definition are the user's; examples/aws_batch has a Terraform module. The
image of the job definition has the entry point `gpubench`, so the command of a job is what follows
it. Each job asks for the whole machine, so that no other job runs beside it.

AWS Batch chooses machines by their free resources, not by their type. So the compute environment of
a queue must have one type of instance only; a worker on another type refuses to measure.

Sources: "Automated job retries", "Job timeouts", "Array jobs" and "Compute resource memory
management" in the AWS Batch User Guide, and SubmitJob in its API Reference.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from gpubench.errors import InputError, reason_of
from gpubench.launch.manifest import Service, Submission
from gpubench.launch.services.by_instance import ByInstance, check_instances, value_for
from gpubench.launch.services.service import Launch, MachineFleet, refuse_local
from gpubench.system import packages

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_MACHINES = 10_000  # of an array job
_LEAST_TIMEOUT_S = 60
_MOST_ATTEMPTS = 10
# The system and the agent of a machine use some of its memory. A job that asks for more than is
# left never starts.
_MEMORY_SHARE = 0.9

# The first condition that fits decides. A machine that was taken back, or a worker that was asked
# to end, is started again. A cell that failed (1) and bad input (2) would only fail again.
_ON_EXIT = (
    {"onStatusReason": "Host EC2*", "action": "RETRY"},
    {"onExitCode": "143", "action": "RETRY"},
    {"onReason": "*", "action": "EXIT"},
)


@dataclass(frozen=True)
class AwsBatch:
    """Queues and job definitions are names or ARNs, which may differ between types of instance."""

    queues: ByInstance = field(default_factory=dict)
    job_definitions: ByInstance = field(default_factory=dict)
    region: str | None = None  # None: that of the fleet, or of the AWS configuration
    attempts: int = _MOST_ATTEMPTS  # starts of one machine, the first included

    name: ClassVar[Service] = "aws-batch"

    def check(self, launch: Launch) -> None:
        refuse_local(launch, "machines of AWS Batch")
        for fleet in launch.fleets:
            if fleet.provider not in {None, "aws"}:
                raise InputError(
                    f"{fleet.instance} is a machine of {fleet.provider}, which AWS Batch does not "
                    "have; leave it out"
                )
        check_instances(self.queues, "--queue", launch)
        check_instances(self.job_definitions, "--job-definition", launch)
        queues: dict[str, str | None] = {}
        for fleet in launch.fleets:
            queue = _chosen(self.queues, fleet, "--queue")
            _chosen(self.job_definitions, fleet, "--job-definition")
            if queue in queues:
                raise InputError(
                    f"--queue {queue}: {queues[queue]} and {fleet.instance} share it, and AWS "
                    "Batch would mix them; give each its own queue, as in --queue TYPE=QUEUE"
                )
            queues[queue] = fleet.instance
            if fleet.machines > _MOST_MACHINES:
                raise InputError(
                    f"--machines: an array job has at most {_MOST_MACHINES:,} jobs, not "
                    f"{fleet.machines:,}"
                )

    def render(self, launch: Launch) -> str:
        """A list with the parameters of SubmitJob for each fleet."""
        return json.dumps([self.request(launch, fleet) for fleet in launch.fleets], indent=2) + "\n"

    def submit(self, launch: Launch, fleet: MachineFleet) -> Submission:
        region = self._region(fleet)
        request = self.request(launch, fleet)
        answer = _call(region, "SubmitJob", lambda client: client.submit_job(**request))
        return Submission(
            service="aws-batch",
            instance=fleet.instance,
            id=str(answer["jobId"]),
            region=str(answer["region"]),
        )

    @staticmethod
    def cancel(submission: Submission) -> None:
        reason = "ended by gpubench launch cancel"
        _call(
            submission.region,
            "TerminateJob",
            lambda client: client.terminate_job(jobId=submission.id, reason=reason),
        )

    def request(self, launch: Launch, fleet: MachineFleet) -> dict[str, Any]:
        """The parameters of SubmitJob."""
        _, *command = launch.worker_arguments(fleet)
        tags = {"gpubench-launch": launch.manifest.name}
        if fleet.instance is not None:
            tags["gpubench-instance"] = fleet.instance
        request: dict[str, Any] = {
            "jobName": re.sub(r"[^A-Za-z0-9_-]", "-", launch.job_name(fleet))[:128],
            "jobQueue": _chosen(self.queues, fleet, "--queue"),
            "jobDefinition": _chosen(self.job_definitions, fleet, "--job-definition"),
            "containerOverrides": {
                "command": command,
                "resourceRequirements": _whole_machine(fleet),
            },
            "retryStrategy": {"attempts": self.attempts, "evaluateOnExit": list(_ON_EXIT)},
            "tags": tags,
            "propagateTags": True,
        }
        if fleet.machines > 1:
            request["arrayProperties"] = {"size": fleet.machines}
        if fleet.time_limit_s is not None:
            seconds = max(_LEAST_TIMEOUT_S, fleet.time_limit_s)
            request["timeout"] = {"attemptDurationSeconds": seconds}
        return request

    def _region(self, fleet: MachineFleet) -> str | None:
        """Raises InputError if the sweep names a region, and the flag another one."""
        if None not in {self.region, fleet.region} and self.region != fleet.region:
            raise InputError(
                f"--region {self.region}: the sweep names {fleet.instance}@{fleet.region}; give "
                "the same region"
            )
        return self.region or fleet.region


def _chosen(values: ByInstance, fleet: MachineFleet, flag: str) -> str:
    found = value_for(values, fleet)
    if found is None:
        typed = f", or {flag} {fleet.instance}=NAME" if fleet.instance else ""
        raise InputError(
            f"{flag}: none is given for {fleet.instance or 'the machines'}; add {flag} NAME{typed}"
        )
    return found


def _whole_machine(fleet: MachineFleet) -> list[dict[str, str]]:
    """What is not known is left to the job definition."""
    wanted = []
    if fleet.vcpus is not None:
        wanted.append({"type": "VCPU", "value": str(fleet.vcpus)})
    if fleet.memory_gib is not None:
        mebibytes = int(fleet.memory_gib * 1024 * _MEMORY_SHARE)
        wanted.append({"type": "MEMORY", "value": str(mebibytes)})
    if fleet.gpus:
        wanted.append({"type": "GPU", "value": str(fleet.gpus)})
    return wanted


def _call(region: str | None, action: str, ask: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """The answer to a request, with the region that was asked. Raises InputError with the fix."""
    if reason := packages.missing("aws", "boto3"):
        raise InputError(reason)
    import boto3
    from botocore import exceptions
    from botocore.config import Config

    config = Config(connect_timeout=10, read_timeout=30, retries={"total_max_attempts": 3})
    try:
        client = boto3.session.Session().client("batch", region_name=region, config=config)
        return {**ask(client), "region": client.meta.region_name}
    except exceptions.NoRegionError:
        raise InputError(
            "no AWS region is known; add --region, or set AWS_DEFAULT_REGION"
        ) from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise InputError(
            "no AWS credentials were found; set AWS_PROFILE, or log in with aws sso login"
        ) from None
    except exceptions.ParamValidationError as error:
        raise InputError(f"batch:{action}: {' '.join(str(error).split())}") from None
    except exceptions.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        message = error.response.get("Error", {}).get("Message", "")
        if code in {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}:
            raise InputError(
                f"AWS does not allow batch:{action} with these credentials; give them the "
                "permission (docs/launching.md lists all)"
            ) from None
        raise InputError(
            f"AWS Batch refuses batch:{action}: {message or code}; see gpubench launch aws-batch -h"
        ) from None
    except exceptions.BotoCoreError as error:  # out of reach, an expired login, a bad profile
        raise InputError(
            f"AWS Batch cannot be asked: {reason_of(error)}; check the network, the region and "
            "the AWS configuration"
        ) from None
