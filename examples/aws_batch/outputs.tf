output "output_url" {
  description = "For --output: a directory in the bucket."
  value       = "s3://${aws_s3_bucket.runs.id}/run"
}

output "queue_flags" {
  description = "For gpubench launch aws-batch."
  value = join(" ", [
    for type, queue in aws_batch_job_queue.of_instance : "--queue ${type}=${queue.name}"
  ])
}

output "job_definition" {
  description = "For --job-definition."
  value       = aws_batch_job_definition.worker.name
}

output "policies_for_people" {
  description = "The policies of people who launch and who read results."
  value       = [aws_iam_policy.submit.arn, aws_iam_policy.run_directory.arn]
}
