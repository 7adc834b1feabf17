#include "gpubench/process.hpp"

#include <pthread.h>
#include <unistd.h>

#include <string>

#include "gpubench/error.hpp"

namespace gpubench {

const int home_process::registered_ = pthread_atfork(nullptr, nullptr, &home_process::count_fork);

void home_process::count_fork() noexcept {
  forks_so_far_.fetch_add(1, std::memory_order_relaxed);
}

home_process::home_process() noexcept : forks_(forks()), pid_(getpid()) {}

void home_process::require_here(const char* what) const {
  if (here()) return;
  throw runner_error(std::string(what) + " belongs to process " + std::to_string(pid_) +
                     "; make a new one after fork");
}

}  // namespace gpubench
