"""The queues and the job definition of examples/aws_batch, on the server of moto_server.py.

No job runs there: each one succeeds at once, so its status says nothing.
"""

from __future__ import annotations

import secrets

import boto3
import pytest
from moto_server import MotoServer

QUEUES = {"g5.xlarge": "gpus", "c7i.xlarge": "cpus"}


@pytest.fixture
def infrastructure(aws: MotoServer) -> MotoServer:
    """Queues for two types of instance, and the job definition "worker"."""
    aws.configure({"batch": {"use_docker": False}})
    iam, ec2, batch = (boto3.client(name) for name in ("iam", "ec2", "batch"))
    if batch.describe_job_queues()["jobQueues"]:  # an earlier test has made them
        return aws
    name = secrets.token_hex(4)
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    profile = iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Arn"]
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    for instance, queue in QUEUES.items():
        environment = batch.create_compute_environment(
            computeEnvironmentName=queue,
            type="MANAGED",
            computeResources={
                "type": "EC2",
                "minvCpus": 0,
                "maxvCpus": 16,
                "instanceTypes": ["optimal"],  # moto does not know every type
                "instanceRole": profile,
                "subnets": [subnet],
                "securityGroupIds": [group],
            },
            serviceRole=role,
            tags={"instance": instance},
        )["computeEnvironmentArn"]
        batch.create_job_queue(
            jobQueueName=queue,
            state="ENABLED",
            priority=1,
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment}],
        )
    batch.register_job_definition(
        jobDefinitionName="worker",
        type="container",
        containerProperties={
            "image": "gpubench",
            "command": ["worker"],
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "1024"},
            ],
        },
    )
    return aws
