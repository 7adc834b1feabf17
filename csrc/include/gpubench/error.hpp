// What the core throws.
#pragma once

#include <stdexcept>

namespace gpubench {

// An argument that cannot be used: one sentence that names it and the fix.
class invalid_argument : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

// A runner that cannot do what it is asked now: an executor failed to open, a run is in progress,
// a worker was abandoned, or this is not its process.
class runner_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace gpubench
