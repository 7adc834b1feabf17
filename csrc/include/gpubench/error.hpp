// The exceptions that the core throws.
#pragma once

#include <stdexcept>

namespace gpubench {

// An argument that cannot be used. what() is one sentence that names the argument and the fix.
class invalid_argument : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

// The runner cannot do now what it is asked: an executor failed to open, a run is in progress, a
// worker was abandoned, or the runner belongs to another process.
class runner_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace gpubench
