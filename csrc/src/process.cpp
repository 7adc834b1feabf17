#include "gpubench/process.hpp"

#include <pthread.h>
#include <unistd.h>

#include <string>

#include "gpubench/error.hpp"

namespace gpubench {

const int owner_process::registered_ = pthread_atfork(nullptr, nullptr, &owner_process::count_fork);

void owner_process::count_fork() noexcept {
  fork_count_.fetch_add(1, std::memory_order_relaxed);
}

owner_process::owner_process() noexcept : forks_(forks()), pid_(getpid()) {}

void owner_process::require_current(const char* what) const {
  if (is_current()) return;
  throw runner_error(std::string(what) + " belongs to process " + std::to_string(pid_) +
                     "; make a new one after fork");
}

}  // namespace gpubench
