// Which process an object belongs to.
#pragma once

#include <sys/types.h>

#include <atomic>

namespace gpubench {

// The process that made an object. A child after fork() has a copy of its parent's memory and none
// of its threads: what they were to do never happens, and a lock that one of them held at the fork
// is never released. What has threads or locks therefore remembers its process and refuses, or does
// nothing, in any other.
//
// Processes are told apart by the forks that led to them, which pthread_atfork() counts: a process
// id can come back, and asking for it is a system call. Thread-safety: every member is safe from
// any thread.
class home_process {
 public:
  home_process() noexcept;  // this process
  static constexpr home_process none() noexcept { return {0, 0}; }

  // How many forks led to this process since the program was loaded.
  static unsigned forks() noexcept { return forks_so_far_.load(std::memory_order_relaxed); }

  bool here() const noexcept { return forks_ == forks(); }
  pid_t pid() const noexcept { return pid_; }  // 0: none()

  // Throws runner_error, "this runner belongs to process 123; make a new one after fork", unless
  // here().
  void require_here(const char* what) const;

 private:
  constexpr home_process(unsigned forks, pid_t pid) noexcept : forks_(forks), pid_(pid) {}
  static void count_fork() noexcept;
  static const int registered_;

  inline static std::atomic<unsigned> forks_so_far_{0};

  unsigned forks_;
  pid_t pid_;
};

}  // namespace gpubench
