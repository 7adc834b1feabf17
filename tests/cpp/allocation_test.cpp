// Every allocation of a runner's constructor fails once: nothing is left behind.
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "check.hpp"
#include "gpubench/delay_executor.hpp"
#include "gpubench/runner.hpp"

namespace {

constexpr int never = -1;
thread_local int allocations_left = never;  // of this thread, until one fails

}  // namespace

// Not inlined, since GCC would take malloc() and operator delete for a mismatched pair.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  if (allocations_left == 0) {
    allocations_left = never;
    throw std::bad_alloc();
  }
  if (allocations_left > 0) --allocations_left;
  if (void* const memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

using namespace gpubench;

namespace {

void a_constructor_that_fails_joins_its_threads_and_gives_the_executors_back() {
  const std::vector<std::shared_ptr<executor>> executors{std::make_shared<delay_executor>(0),
                                                         std::make_shared<delay_executor>(0),
                                                         std::make_shared<delay_executor>(0)};
  int failures = 0;
  for (bool made = false; !made; ++failures) {
    std::vector<std::shared_ptr<executor>> given = executors;
    allocations_left = failures;
    try {
      runner workers(std::move(given));
      made = true;
    } catch (const std::bad_alloc&) {
    }
    allocations_left = never;
    runner all_free(executors);
    run_options options;
    options.stop_after_completions = 3;
    options.capacity = 100;
    CHECK(all_free.run(std::make_shared<closed_loop>(1), options).completed == 3);
  }
  CHECK(failures > 10);  // the crew, its workers, their threads
  CHECK(abandoned_workers() == 0);
  for (const auto& each : executors) CHECK(each.use_count() == 1);
}

}  // namespace

int main() {
  return run_tests(TEST(a_constructor_that_fails_joins_its_threads_and_gives_the_executors_back));
}
