variable "name" {
  description = "The first part of all names: a-z, 0-9 and -."
  type        = string
  default     = "gpubench"
}

variable "instances" {
  description = "The types of instance to measure on, for example { \"g5.xlarge\" = { vcpus = 4 } }."
  type = map(object({
    vcpus         = number
    spot          = optional(bool, false)
    most_machines = optional(number, 1)
  }))
}

variable "image" {
  description = "The image of the workers, with its digest. Its entry point is gpubench."
  type        = string
}

variable "user" {
  description = "The user in the container, by number. It is not root."
  type        = string
  default     = "10001:10001"
}

variable "vpc_id" {
  description = "The network of the machines."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets from which S3 and the registry of the image can be reached."
  type        = list(string)
}
