# The least privileges: a worker reads and writes one bucket, a machine joins its cluster, and a
# person submits to these queues.

data "aws_iam_policy_document" "assumed_by_jobs" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "assumed_by_machines" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

# What gpubench does with a run directory.
data "aws_iam_policy_document" "run_directory" {
  statement {
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.runs.arn]
  }
  statement {
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = ["${aws_s3_bucket.runs.arn}/*"]
  }
}

resource "aws_iam_role" "worker" {
  name_prefix        = "${var.name}-worker-"
  assume_role_policy = data.aws_iam_policy_document.assumed_by_jobs.json
}

resource "aws_iam_role_policy" "worker" {
  role   = aws_iam_role.worker.id
  policy = data.aws_iam_policy_document.run_directory.json
}

resource "aws_iam_role" "machine" {
  name_prefix        = "${var.name}-machine-"
  assume_role_policy = data.aws_iam_policy_document.assumed_by_machines.json
}

# Joins the cluster, reads images from ECR, and writes logs.
resource "aws_iam_role_policy_attachment" "machine" {
  role       = aws_iam_role.machine.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
}

resource "aws_iam_instance_profile" "machine" {
  name_prefix = "${var.name}-machine-"
  role        = aws_iam_role.machine.name

  # A machine that starts before its role has rights cannot join the cluster.
  depends_on = [aws_iam_role_policy_attachment.machine]
}

# For people who run gpubench launch. Attach it to their role.
data "aws_iam_policy_document" "submit" {
  statement {
    actions = ["batch:SubmitJob", "batch:TagResource"]
    resources = concat(
      [for queue in aws_batch_job_queue.of_instance : queue.arn],
      # With and without a revision, and the jobs, which have tags.
      [
        aws_batch_job_definition.worker.arn_prefix,
        "${aws_batch_job_definition.worker.arn_prefix}:*",
        "arn:${data.aws_partition.current.partition}:batch:*:*:job/*",
      ],
    )
  }
  # TerminateJob can be limited to jobs by their tags, which gpubench launch sets.
  statement {
    actions   = ["batch:TerminateJob"]
    resources = ["*"]
    condition {
      test     = "Null"
      variable = "aws:ResourceTag/gpubench-launch"
      values   = ["false"]
    }
  }
}

resource "aws_iam_policy" "submit" {
  name_prefix = "${var.name}-submit-"
  policy      = data.aws_iam_policy_document.submit.json
}

resource "aws_iam_policy" "run_directory" {
  name_prefix = "${var.name}-runs-"
  policy      = data.aws_iam_policy_document.run_directory.json
}
