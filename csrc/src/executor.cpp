#include "gpubench/executor.hpp"

#include <string>

#include "gpubench/error.hpp"

namespace gpubench {

void executor::acquire(const std::string& name) {
  if (!in_use_.exchange(true)) return;
  if (!owner_.is_current()) {
    throw invalid_argument(name + " belongs to a runner of process " +
                           std::to_string(owner_.pid()) + "; make a new one after fork");
  }
  throw invalid_argument(name +
                         " is in use by another runner, or by one that had to abandon a worker; "
                         "close that runner first, or make a new executor");
}

}  // namespace gpubench
