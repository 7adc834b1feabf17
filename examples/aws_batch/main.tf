# What `gpubench launch aws-batch` needs: for each type of instance a compute environment and a
# queue, and for all of them a job definition, a bucket and the roles. README.md says how to use it.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

locals {
  # Names of AWS Batch have no dots: g5.xlarge becomes g5-xlarge.
  short_names = { for type in keys(var.instances) : type => replace(type, ".", "-") }
}

# The run directory. Nothing in it is public.
resource "aws_s3_bucket" "runs" {
  bucket_prefix = "${var.name}-"
}

resource "aws_s3_bucket_public_access_block" "runs" {
  bucket                  = aws_s3_bucket.runs.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_security_group" "workers" {
  name_prefix = "${var.name}-"
  description = "Workers of gpubench: connections to the outside only"
  vpc_id      = var.vpc_id

  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

# One type of instance each. AWS Batch chooses machines by free resources, so a queue with several
# types would mix them.
resource "aws_batch_compute_environment" "of_instance" {
  for_each = var.instances

  # A change of the type or of spot needs a new environment, which is made before the old one ends.
  name_prefix = "${var.name}-${local.short_names[each.key]}-"
  type        = "MANAGED"

  compute_resources {
    type                = each.value.spot ? "SPOT" : "EC2"
    allocation_strategy = each.value.spot ? "SPOT_CAPACITY_OPTIMIZED" : "BEST_FIT_PROGRESSIVE"
    instance_type       = [each.key]
    instance_role       = aws_iam_instance_profile.machine.arn
    min_vcpus           = 0
    max_vcpus           = each.value.vcpus * each.value.most_machines
    subnets             = var.subnet_ids
    security_group_ids  = [aws_security_group.workers.id]
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_batch_job_queue" "of_instance" {
  for_each = var.instances

  name     = "${var.name}-${local.short_names[each.key]}"
  state    = "ENABLED"
  priority = 1

  compute_environment_order {
    order               = 1
    compute_environment = aws_batch_compute_environment.of_instance[each.key].arn
  }
}

# gpubench launch replaces the command, the CPUs, the memory and the GPUs for each type of instance.
resource "aws_batch_job_definition" "worker" {
  name                  = var.name
  type                  = "container"
  platform_capabilities = ["EC2"]
  propagate_tags        = true

  container_properties = jsonencode({
    image      = var.image
    command    = ["worker", "s3://${aws_s3_bucket.runs.id}/run"]
    jobRoleArn = aws_iam_role.worker.arn
    user       = var.user
    privileged = false
    resourceRequirements = [
      { type = "VCPU", value = "1" },
      { type = "MEMORY", value = "2048" },
    ]
    linuxParameters = {
      initProcessEnabled = false
      sharedMemorySize   = 1024
    }
    environment = [
      { name = "AWS_DEFAULT_REGION", value = data.aws_region.current.region },
    ]
  })
}

data "aws_region" "current" {}

data "aws_partition" "current" {}
