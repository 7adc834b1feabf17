// A runner's constructor that fails, at whatever point, leaves nothing behind.
#include <pthread.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "check.hpp"
#include "gpubench/delay_executor.hpp"
#include "gpubench/error.hpp"
#include "gpubench/runner.hpp"

namespace {

constexpr int never = -1;
thread_local int allocations_left = never;  // of this thread, until `at_allocation` is called
thread_local void (*at_allocation)() = nullptr;

void throw_bad_alloc() {
  throw std::bad_alloc();
}

// Sets the size of the stacks of threads that start from now on.
void set_stack_size(std::size_t bytes) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, bytes);
  pthread_setattr_default_np(&attributes);
  pthread_attr_destroy(&attributes);
}

// No address space has room for such a stack, so no thread can be started: std::thread throws
// std::system_error, as it does if the system has too many threads.
void prevent_threads() {
  set_stack_size(std::size_t{1} << 56);
}

}  // namespace

// Not inlined, because GCC would warn that malloc() and operator delete do not match.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  if (allocations_left == 0) {
    allocations_left = never;
    at_allocation();
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

const std::vector<std::shared_ptr<executor>>& three_executors() {
  static const std::vector<std::shared_ptr<executor>> executors{
      std::make_shared<delay_executor>(0), std::make_shared<delay_executor>(0),
      std::make_shared<delay_executor>(0)};
  return executors;
}

// Makes runners until one constructor succeeds without calling `fail`, which is called at the first
// allocation of the first constructor, at the second allocation of the second one, and so on.
// Returns how often a constructor threw an Exception. Any other exception fails the test.
template <class Exception>
int failures_of_constructor(void (*fail)(), void (*restore)()) {
  int failures = 0;
  for (int allocation = 0;; ++allocation) {
    std::vector<std::shared_ptr<executor>> given = three_executors();
    at_allocation = fail;
    allocations_left = allocation;
    bool made = false;
    try {
      const runner workers(std::move(given));
      made = true;
    } catch (const Exception&) {
      ++failures;
    }
    const bool reached = allocations_left == never;  // the allocation that was to fail
    allocations_left = never;
    restore();
    // The executors were released and the threads were joined, so a new runner can use them.
    runner all_free(three_executors());
    run_options options;
    options.stop_after_completions = 3;
    options.capacity = 100;
    CHECK(all_free.run(std::make_shared<closed_loop>(1), options).completed == 3);
    if (made && !reached) break;
  }
  CHECK(abandoned_workers() == 0);
  return failures;
}

void a_constructor_without_memory_joins_its_threads_and_gives_the_executors_back() {
  const int failures = failures_of_constructor<std::bad_alloc>(throw_bad_alloc, [] {});
  CHECK(failures > 10);  // allocations of the runner, its workers and their threads
  for (const auto& each : three_executors()) CHECK(each.use_count() == 1);
}

// The start of each of the three threads fails at least once.
void a_constructor_that_cannot_start_a_thread_joins_those_that_it_started() {
  pthread_attr_t attributes;
  pthread_getattr_default_np(&attributes);
  static std::size_t usual_bytes = 0;
  pthread_attr_getstacksize(&attributes, &usual_bytes);
  pthread_attr_destroy(&attributes);
  const int failures =
      failures_of_constructor<runner_error>(prevent_threads, [] { set_stack_size(usual_bytes); });
  CHECK(failures > 10);
  for (const auto& each : three_executors()) CHECK(each.use_count() == 1);

  prevent_threads();
  const std::string message =
      message_of<runner_error>([] { const runner workers(three_executors()); });
  set_stack_size(usual_bytes);
  CHECK(message.find("a worker's thread could not be started: ") == 0);
}

}  // namespace

int main() {
  return run_tests(
      TEST(a_constructor_without_memory_joins_its_threads_and_gives_the_executors_back),
      TEST(a_constructor_that_cannot_start_a_thread_joins_those_that_it_started));
}
