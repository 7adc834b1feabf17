// What the machine can do without a harness: the yardsticks of the benchmarks.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "gpubench/clock.hpp"

namespace {

struct stage {
  virtual ~stage() = default;
  virtual void pass(std::size_t request) = 0;
};

struct counting final : stage {
  std::size_t sum = 0;
  void pass(std::size_t request) override { sum += request; }
};

}  // namespace

// Requests per second of a loop that reads the clock three times, takes an uncontended mutex and
// makes two virtual calls per request, as the runner must; it records nothing.
extern "C" double bare_throughput(std::size_t requests) {
  const std::unique_ptr<stage> source = std::make_unique<counting>();
  const std::unique_ptr<stage> executor = std::make_unique<counting>();
  std::mutex mutex;
  std::int64_t sum = 0;
  const std::int64_t start = gpubench::now_ns();
  for (std::size_t i = 0; i < requests; ++i) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      source->pass(i);
      sum += gpubench::now_ns();  // departed
    }
    sum += gpubench::now_ns();  // submitted
    executor->pass(i);
    sum += gpubench::now_ns();  // completed
  }
  const std::int64_t end = gpubench::now_ns();
  volatile std::int64_t keep = sum;
  static_cast<void>(keep);
  return static_cast<double>(requests) * 1e9 / static_cast<double>(end - start);
}

// For each due time (offsets from now), how late a loop sees it that sleeps while the moment is
// over `spin_ns` away and spins from then on (0: only sleeps).
extern "C" void bare_lag(const std::int64_t* due_ns, std::size_t count, std::int64_t spin_ns,
                         std::int64_t* lag_ns) {
  gpubench::set_least_timer_slack();
  const std::int64_t start = gpubench::now_ns();
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t due = start + due_ns[i];
    if (due - gpubench::now_ns() > spin_ns) gpubench::sleep_until_ns(due - spin_ns);
    gpubench::spin_until_ns(due);
    lag_ns[i] = gpubench::now_ns() - due;
  }
}
