// The process that an object belongs to.
#pragma once

#include <sys/types.h>

#include <atomic>

namespace gpubench {

// Remembers the process that made an object. After fork(), the child has a copy of the parent's
// memory but none of its threads. Work of those threads never happens in the child, and a mutex
// that one of them held at the fork is never unlocked. So an object with threads or mutexes stores
// its process, and in any other process it refuses to work or does nothing.
//
// A process is identified by the number of forks since the program was loaded, which a handler of
// pthread_atfork() counts. A process id can be used again, and getpid() is a system call.
//
// Thread-safety: every member is thread-safe.
class owner_process {
 public:
  owner_process() noexcept;  // the current process
  static constexpr owner_process none() noexcept { return {0, 0}; }

  // How many forks led to this process since the program was loaded.
  static unsigned forks() noexcept { return fork_count_.load(std::memory_order_relaxed); }

  bool is_current() const noexcept { return forks_ == forks(); }
  pid_t pid() const noexcept { return pid_; }  // 0 for none()

  // Throws runner_error, "this runner belongs to process 123; make a new one after fork", unless
  // is_current().
  void require_current(const char* what) const;

 private:
  constexpr owner_process(unsigned forks, pid_t pid) noexcept : forks_(forks), pid_(pid) {}
  static void count_fork() noexcept;
  static const int registered_;

  inline static std::atomic<unsigned> fork_count_{0};

  unsigned forks_;
  pid_t pid_;
};

}  // namespace gpubench
