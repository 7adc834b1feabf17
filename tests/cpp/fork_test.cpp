// A child after fork has the memory of runners and queues, but none of their threads.
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "forked.hpp"
#include "gpubench/gpubench.hpp"

using namespace gpubench;

namespace {

constexpr std::int64_t second_ns = 1'000'000'000;

#ifdef __SANITIZE_THREAD__
constexpr bool threads_in_children = false;
#else
constexpr bool threads_in_children = true;
#endif

run_options until(std::size_t completions) {
  run_options options;
  options.stop_after_completions = completions;
  options.capacity = 10'000;
  return options;
}

std::string belongs_to(const char* what, pid_t process) {
  return std::string(what) + " belongs to process " + std::to_string(process) +
         "; make a new one after fork";
}

void a_child_cannot_use_the_runner_of_its_parent_but_can_destroy_it() {
  const pid_t parent = getpid();
  auto mine = std::make_shared<delay_executor>(0);
  auto workers = std::make_unique<runner>(std::vector<std::shared_ptr<executor>>{mine});
  auto source = std::make_shared<closed_loop>(1);
  CHECK(workers->run(source, until(10)).completed == 10);
  CHECK(holds_in_child([&] {
    const std::string refused = belongs_to("this runner", parent);
    CHECK(message_of<runner_error>([&] { return workers->run(source, until(1)); }) == refused);
    CHECK(message_of<runner_error>([&] { return workers->wait_open(1 * second_ns); }) == refused);
    CHECK(message_of<runner_error>([&] { workers->start(source, until(1)); }) == refused);
    CHECK(message_of<runner_error>([&] { return workers->wait_for(1 * second_ns); }) == refused);
    CHECK(message_of<runner_error>([&] { workers->stop(); }) == refused);
    CHECK(message_of<runner_error>([&] { return workers->finish(); }) == refused);
    workers->close();
    CHECK(message_of<invalid_argument>([&] { runner other({mine}); }) ==
          "executors[0] belongs to a runner of process " + std::to_string(parent) +
              "; make a new one after fork");
    workers.reset();
  }));
  CHECK(workers->run(source, until(10)).completed == 10);  // the parent's runner still works
}

void a_child_makes_a_runner_of_its_own() {
  runner workers({std::make_shared<delay_executor>(0)});
  auto source = std::make_shared<closed_loop>(1);  // not in use, so the child can use it
  auto idle = std::make_shared<delay_executor>(0);
  CHECK(holds_in_child([&] {
    if (threads_in_children) {
      runner own({idle});
      CHECK(own.run(source, until(10)).completed == 10);
      own.close();
    } else {
      std::fprintf(stderr, "not run: threads in a child, which ThreadSanitizer does not know\n");
    }
    CHECK(simulate(*source, 1, {1}, until(10)).completed == 10);
  }));
}

void a_child_forked_during_a_run_waits_for_no_lock() {
  // Batches of 5 us: the workers lock all the time, and the timeline has room for many seconds.
  runner workers(
      {std::make_shared<delay_executor>(5'000), std::make_shared<delay_executor>(5'000)});
  auto source = std::make_shared<closed_loop>(2);
  run_options endless;
  endless.capacity = 200'000'000 / sizeof(batch_record);
  workers.start(source, endless);
  for (int i = 0; i < 20; ++i) {
    CHECK(holds_in_child([&] {
      message_of<runner_error>([&] { workers.stop(); });
      const std::string taken =
          message_of<invalid_argument>([&] { return simulate(*source, 1, {1}, until(1)); });
      CHECK(taken.find("the source is in use by a run of process") == 0);
      workers.close();
    }));
  }
  workers.stop();
  CHECK(workers.wait_for(60 * second_ns));
  CHECK(workers.finish().reason == end_reason::stopped);
}

void a_live_queue_serves_the_process_that_made_it() {
  const std::string refused = belongs_to("this queue", getpid());
  auto queue = std::make_shared<live_queue>(1);
  std::atomic<bool> go_on{true};
  std::thread submitter([&] {
    while (go_on) static_cast<void>(queue->submit(1));  // usually full
  });
  for (int i = 0; i < 20; ++i) {
    CHECK(holds_in_child([&] {
      CHECK(message_of<runner_error>([&] { return queue->submit(2); }) == refused);
      CHECK(message_of<runner_error>([&] { return simulate(*queue, 1, {1}, until(1)); }) ==
            refused);
      queue->close();
    }));
  }
  go_on = false;
  submitter.join();
  CHECK(queue->submit(3) == live_queue::submission::full);
}

}  // namespace

int main() {
  return run_tests(TEST(a_child_cannot_use_the_runner_of_its_parent_but_can_destroy_it),
                   TEST(a_child_makes_a_runner_of_its_own),
                   TEST(a_child_forked_during_a_run_waits_for_no_lock),
                   TEST(a_live_queue_serves_the_process_that_made_it));
}
