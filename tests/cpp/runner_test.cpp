// Runs on threads: asynchronous executors, failures, stops, and several runs of one runner.
#include "gpubench/runner.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check.hpp"
#include "gpubench/arrivals.hpp"
#include "gpubench/clock.hpp"
#include "gpubench/delay_executor.hpp"
#include "gpubench/error.hpp"

using namespace gpubench;

namespace {

constexpr std::int64_t second_ns = 1'000'000'000;
constexpr std::int64_t millisecond_ns = 1'000'000;

// A simulated device: a stream that executes batches one after another, `service_ns` each. Its
// clock is `clock_offset_ns` ahead of the host's.
class fake_device final : public executor {
 public:
  static constexpr std::int64_t clock_offset_ns = 1'000'000'007;

  fake_device(std::size_t depth, std::int64_t service_ns)
      : service_ns_(service_ns), slots_(depth) {}

  std::size_t depth() const noexcept override { return slots_.size(); }
  bool has_device_times() const noexcept override { return true; }
  void open() override { thread_ = std::this_thread::get_id(); }

  batch_state start(std::size_t slot, const batch_view& batch) override {
    CHECK(std::this_thread::get_id() == thread_);
    CHECK(!slots_[slot].busy);
    CHECK(batch.size > 0);
    const std::int64_t begin_ns = std::max(now_ns(), stream_free_ns_);
    stream_free_ns_ = begin_ns + service_ns_;
    slots_[slot] = {true, begin_ns, stream_free_ns_};
    in_flight_ += 1;
    most_in_flight = std::max(most_in_flight.load(), in_flight_);
    return batch_state::running;
  }

  batch_state poll(std::size_t slot) override {
    CHECK(slots_[slot].busy);
    if (hangs) return batch_state::running;
    if (throws) throw std::runtime_error("device lost");
    if (now_ns() < slots_[slot].end_ns) return batch_state::running;
    slots_[slot].busy = false;
    in_flight_ -= 1;
    return batch_state::complete;
  }

  device_stamps device_times(std::size_t slot) override {
    if (loses_stamps) throw std::runtime_error("event lost");
    const std::int64_t begin = slots_[slot].begin_ns + clock_offset_ns;
    const std::int64_t end = slots_[slot].end_ns + clock_offset_ns;
    return {begin, begin, end, end};
  }

  std::size_t to_host_clock(const batch_record*, device_stamps* stamps,
                            std::size_t count) override {
    for (std::size_t i = 0; i < count; ++i) {
      for (std::int64_t& stamp : stamps[i]) stamp -= clock_offset_ns;
    }
    return count;
  }

  std::atomic<std::size_t> most_in_flight{0};
  std::atomic<bool> hangs{false};
  std::atomic<bool> throws{false};
  std::atomic<bool> loses_stamps{false};

 private:
  struct flight {
    bool busy = false;
    std::int64_t begin_ns = 0;
    std::int64_t end_ns = 0;
  };
  std::int64_t service_ns_;
  std::vector<flight> slots_;
  std::int64_t stream_free_ns_ = 0;
  std::size_t in_flight_ = 0;
  std::thread::id thread_;
};

// Calls a function for every batch.
class calling final : public executor {
 public:
  explicit calling(std::function<void(const batch_view&)> run) : run_(std::move(run)) {}
  batch_state start(std::size_t, const batch_view& batch) override {
    run_(batch);
    return batch_state::complete;
  }

 private:
  std::function<void(const batch_view&)> run_;
};

// Calls a function to gather the inputs of every batch. Batches take no time.
class gathering final : public executor {
 public:
  using gather = std::function<void(const request*, std::size_t)>;
  explicit gathering(gather fill) : fill_(std::move(fill)) {}
  void fill(std::size_t slot, const request* requests, std::size_t size) override {
    CHECK(slot == 0);
    fill_(requests, size);
    gathered_ids.clear();
    for (std::size_t i = 0; i < size; ++i) gathered_ids.push_back(requests[i].id);
    gathered_ns = now_ns();
  }
  batch_state start(std::size_t, const batch_view& batch) override {
    CHECK(batch.submitted_ns >= gathered_ns);
    CHECK(batch.size == gathered_ids.size());
    for (std::size_t i = 0; i < batch.size; ++i) CHECK(batch.requests[i].id == gathered_ids[i]);
    gathered_ids.clear();
    return batch_state::complete;
  }

  std::vector<std::int64_t> gathered_ids;
  std::int64_t gathered_ns = 0;

 private:
  gather fill_;
};

[[noreturn]] void hang() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

std::vector<std::shared_ptr<executor>> null_system(std::size_t workers) {
  std::vector<std::shared_ptr<executor>> executors;
  for (std::size_t i = 0; i < workers; ++i) {
    executors.push_back(std::make_shared<delay_executor>(0));
  }
  return executors;
}

run_options until(std::size_t completions) {
  run_options options;
  options.stop_after_completions = completions;
  options.capacity = 10'000;  // prefaulting the pages of the default takes longer than these runs
  return options;
}

// Checks what holds for every outcome: time stamps are in order, and the sums agree.
void check_consistency(const outcome& result) {
  std::size_t completed = 0;
  for (const auto& stamps : result.timelines) {
    std::size_t next_request = 0;
    for (std::size_t b = 0; b < stamps->batch_count(); ++b) {
      const batch_record& batch = stamps->batches()[b];
      CHECK(batch.opened_ns <= batch.departed_ns);
      CHECK(batch.departed_ns <= batch.submitted_ns);
      CHECK(batch.submitted_ns <= batch.completed_ns);
      CHECK(batch.departed_ns >= result.start_ns);
      CHECK(batch.first_request == next_request);
      next_request += batch.size;
      for (std::size_t i = batch.first_request; i < next_request; ++i) {
        CHECK(stamps->requests()[i].scheduled_ns <= batch.departed_ns);
      }
      if (stamps->has_device_times()) {
        CHECK(batch.submitted_ns <= stamps->stamps()[b][0]);
        CHECK(stamps->stamps()[b][3] <= batch.completed_ns);
      }
    }
    completed += next_request;
  }
  CHECK(completed == result.completed);
}

void every_request_of_an_open_loop_completes_once() {
  for (const wait_mode mode : {wait_mode::spin, wait_mode::yield, wait_mode::block}) {
    runner workers(null_system(3), mode);
    const outcome result =
        workers.run(std::make_shared<open_loop>(poisson_arrivals(20'000, 2000, 1)), {});
    check_consistency(result);
    std::set<std::int64_t> ids;
    for (const auto& stamps : result.timelines) {
      for (std::size_t i = 0; i < stamps->request_count(); ++i) {
        ids.insert(stamps->requests()[i].id);
      }
    }
    CHECK(result.reason == end_reason::finished);
    CHECK(ids.size() == 2000 && result.completed == 2000);
  }
}

void a_closed_loop_has_no_more_in_flight_than_clients() {
  for (const wait_mode mode : {wait_mode::spin, wait_mode::yield, wait_mode::block}) {
    for (const std::int64_t think_ns : {0, 50'000}) {
      runner workers(null_system(4), mode);
      const outcome result = workers.run(std::make_shared<closed_loop>(2, think_ns), until(2000));
      check_consistency(result);
      CHECK(result.completed >= 2000 && result.completed <= 2003);
      CHECK(result.offered() <= result.completed + 2);
    }
  }
}

// Every batch of this run completes only while the next one is in service. So the run exceeds the
// deadline unless the other worker takes the next batch while one is busy.
void requests_due_while_one_worker_is_busy_go_to_another() {
  for (const wait_mode mode : {wait_mode::spin, wait_mode::yield, wait_mode::block}) {
    constexpr std::int64_t count = 200;
    std::atomic<std::int64_t> started{0};
    const auto until_the_next = [&](const batch_view& batch) {
      ++started;
      const std::int64_t awaited = std::min(batch.requests[0].id + 2, count);
      while (started < awaited) std::this_thread::yield();
    };
    runner workers(
        {std::make_shared<calling>(until_the_next), std::make_shared<calling>(until_the_next)},
        mode);
    const outcome result =
        workers.run(std::make_shared<open_loop>(poisson_arrivals(20'000, count, 3)), {});
    check_consistency(result);
    CHECK(result.reason == end_reason::finished && result.completed == count);
  }
}

void an_asynchronous_executor_keeps_its_depth_in_flight() {
  for (const wait_mode mode : {wait_mode::spin, wait_mode::yield, wait_mode::block}) {
    auto first = std::make_shared<fake_device>(2, 20'000);
    auto second = std::make_shared<fake_device>(3, 20'000);
    runner workers({first, second}, mode);
    const outcome result = workers.run(std::make_shared<closed_loop>(8), until(500));
    check_consistency(result);
    CHECK(result.reason == end_reason::completions);
    CHECK(first->most_in_flight == 2 && second->most_in_flight == 3);
  }
}

void an_asynchronous_executor_serves_late_arrivals_while_batches_are_in_flight() {
  auto device = std::make_shared<fake_device>(4, 100'000);
  runner workers({device});
  run_options options;
  options.batch = {4, 30'000};
  const outcome result =
      workers.run(std::make_shared<open_loop>(poisson_arrivals(50'000, 2000, 2)), options);
  check_consistency(result);
  CHECK(result.reason == end_reason::finished && result.completed == 2000);
}

void an_exception_ends_the_run_and_keeps_what_completed() {
  std::atomic<int> calls{0};
  const auto fifth_throws = [&calls](const batch_view&) {
    if (++calls == 5) throw std::runtime_error("out of memory");
  };
  runner workers({std::make_shared<calling>(fifth_throws)});
  const outcome result = workers.run(std::make_shared<closed_loop>(1), {});
  CHECK(result.reason == end_reason::error);
  CHECK(result.error == "worker 0: out of memory");
  CHECK(result.completed == 4 && result.failed == 1 && result.offered() == 5);
  CHECK(workers.run(std::make_shared<closed_loop>(1), until(10)).completed == 10);
}

void a_device_that_fails_ends_the_run() {
  auto device = std::make_shared<fake_device>(2, 1000);
  device->throws = true;
  runner workers({device, std::make_shared<delay_executor>(0)});
  const outcome result = workers.run(std::make_shared<closed_loop>(8), {});
  CHECK(result.reason == end_reason::error);
  CHECK(result.error == "worker 0: device lost");
  CHECK(result.failed >= 1 && result.failed <= 2);
}

void a_batch_without_its_device_stamps_is_not_recorded() {
  auto device = std::make_shared<fake_device>(2, 1000);
  device->loses_stamps = true;
  runner workers({device});
  const outcome result = workers.run(std::make_shared<closed_loop>(2), until(100));
  check_consistency(result);
  CHECK(result.error == "worker 0: event lost");
  CHECK(result.completed == 0 && result.failed >= 1 && result.offered() == 2);
}

void inputs_are_gathered_between_departure_and_submission() {
  const auto takes_a_while = [](const request*, std::size_t) {
    const std::int64_t until_ns = now_ns() + 50'000;
    while (now_ns() < until_ns) relax();
  };
  runner workers({std::make_shared<gathering>(takes_a_while)});
  run_options options = until(100);
  options.batch = {2, 0};
  const outcome result = workers.run(std::make_shared<closed_loop>(3), options);
  check_consistency(result);
  CHECK(!result.error && result.completed >= 100);
  const timeline& stamps = *result.timelines[0];
  for (std::size_t i = 0; i < stamps.batch_count(); ++i) {
    CHECK(stamps.batches()[i].submitted_ns - stamps.batches()[i].departed_ns >= 50'000);
  }
}

void inputs_that_cannot_be_gathered_end_the_run() {
  std::atomic<int> calls{0};
  const auto fifth_throws = [&calls](const request*, std::size_t) {
    if (++calls == 5) throw std::runtime_error("no such input");
  };
  runner workers({std::make_shared<gathering>(fifth_throws)});
  const outcome result = workers.run(std::make_shared<closed_loop>(1), {});
  CHECK(result.error == "worker 0: no such input");
  CHECK(result.completed == 4 && result.failed == 1);
  CHECK(workers.run(std::make_shared<closed_loop>(1), until(10)).completed == 10);
}

void an_executor_that_hangs_while_it_gathers_inputs_is_abandoned() {
  const int before = abandoned_workers();
  const auto hangs = [](const request*, std::size_t) { hang(); };
  runner workers({std::make_shared<gathering>(hangs)});
  run_options options;
  options.batch_deadline_ns = 20'000'000;
  const outcome result = workers.run(std::make_shared<closed_loop>(1), options);
  CHECK(result.reason == end_reason::deadline && result.completed == 0);
  CHECK(abandoned_workers() == before + 1);
}

void an_executor_that_fails_to_open_is_named() {
  class broken final : public executor {
    void open() override { throw std::runtime_error("no such device"); }
    batch_state start(std::size_t, const batch_view&) override { return batch_state::complete; }
  };
  runner workers({std::make_shared<delay_executor>(0), std::make_shared<broken>()});
  CHECK(message_of<runner_error>([&workers] { return workers.wait_open(10 * second_ns); }) ==
        "worker 1: no such device");
}

void a_hanging_executor_is_abandoned_and_the_runner_refused() {
  const int before = abandoned_workers();
  {
    runner workers({std::make_shared<calling>([](const batch_view&) { hang(); }),
                    std::make_shared<delay_executor>(0)});
    run_options options;
    options.batch_deadline_ns = 20'000'000;
    const outcome result = workers.run(std::make_shared<closed_loop>(2), options);
    CHECK(result.reason == end_reason::deadline);
    CHECK(result.error->find("worker 0: a batch did not complete within 0.02 s") == 0);
    CHECK(result.completed > 0 && result.unfinished_scheduled_ns.size() >= 1);
    message_of<runner_error>([&] { return workers.run(std::make_shared<closed_loop>(1), {}); });
  }
  CHECK(abandoned_workers() == before + 1);
}

void a_device_that_never_completes_is_abandoned() {
  const int before = abandoned_workers();
  auto device = std::make_shared<fake_device>(2, 1000);
  device->hangs = true;
  auto source = std::make_shared<closed_loop>(5);
  runner workers({device});
  run_options options;
  options.batch_deadline_ns = 20'000'000;
  const outcome result = workers.run(source, options);
  CHECK(result.reason == end_reason::deadline);
  CHECK(result.completed == 0 && result.offered() == 5);
  CHECK(abandoned_workers() == before + 1);
  runner others(null_system(1));  // the abandoned worker may still use its source
  message_of<invalid_argument>([&] { return others.run(source, until(1)); });
}

// The hung thread continues while the outcome is read. It must not change anything.
void an_abandoned_worker_that_returns_changes_nothing() {
  std::promise<void> release;
  std::promise<void> back;
  std::atomic<int> calls{0};
  const auto third_hangs = [&](const batch_view&) {
    if (++calls == 3) {
      release.get_future().wait();
      back.set_value();
    }
  };
  runner workers({std::make_shared<calling>(third_hangs)});
  run_options options;
  options.batch_deadline_ns = 20'000'000;
  const outcome result = workers.run(std::make_shared<closed_loop>(1), options);
  release.set_value();
  back.get_future().wait();
  check_consistency(result);
  CHECK(result.completed == 2 && result.timelines[0]->batch_count() == 2);
}

void stop_ends_an_endless_run() {
  for (const wait_mode mode : {wait_mode::spin, wait_mode::yield, wait_mode::block}) {
    runner workers(null_system(2), mode);
    auto idle = std::make_shared<live_queue>(1);
    workers.start(idle, {});
    CHECK(!workers.wait_for(1 * millisecond_ns));
    workers.stop();
    CHECK(workers.wait_for(10 * second_ns));
    CHECK(workers.finish().reason == end_reason::stopped);
    workers.start(std::make_shared<closed_loop>(3), {});
    workers.stop();  // possibly before the clock has started
    CHECK(workers.wait_for(10 * second_ns));
    CHECK(workers.finish().reason == end_reason::stopped);
  }
}

void a_stop_whose_grace_is_over_abandons_the_worker() {
  std::atomic<bool> entered{false};
  runner workers({std::make_shared<calling>([&entered](const batch_view&) {
    entered = true;
    hang();
  })});
  workers.start(std::make_shared<closed_loop>(1), {});
  while (!entered) std::this_thread::yield();
  workers.stop(1 * millisecond_ns);
  CHECK(workers.wait_for(10 * second_ns));
  const outcome result = workers.finish();
  CHECK(result.reason == end_reason::stopped && !result.error);
  CHECK(result.unfinished_scheduled_ns.size() == 1);
}

void a_runner_runs_a_hundred_times() {
  runner workers(null_system(2));
  for (int i = 0; i < 100; ++i) {
    const outcome result = workers.run(std::make_shared<closed_loop>(3), until(50));
    check_consistency(result);
    CHECK(result.reason == end_reason::completions);
  }
}

void runs_end_by_time_and_by_capacity() {
  runner workers(null_system(2));
  run_options options;
  options.stop_after_ns = 2'000'000;
  const outcome timed = workers.run(std::make_shared<closed_loop>(2), options);
  CHECK(timed.reason == end_reason::time);
  CHECK(timed.end_ns == timed.start_ns + 2'000'000);
  run_options small;
  small.capacity = 100;
  const outcome full = workers.run(std::make_shared<closed_loop>(2), small);
  CHECK(full.reason == end_reason::timeline_full && full.completed == 100);
}

void the_cpu_time_of_a_run_is_reported() {
  runner workers({std::make_shared<delay_executor>(2'000'000)});
  const outcome result = workers.run(std::make_shared<closed_loop>(1), until(5));
  CHECK(result.cpu_seconds > 0.001);
}

void a_runner_refuses_what_it_cannot_do() {
  message_of<invalid_argument>([] { runner workers({}); });
  message_of<invalid_argument>([] { runner workers({nullptr}); });
  auto twice = std::make_shared<delay_executor>(0);
  message_of<invalid_argument>([&twice] { runner workers({twice, twice}); });

  runner workers(null_system(1));
  const auto refuses = [&workers](run_options options) {
    return !message_of<invalid_argument>([&] {
              return workers.run(std::make_shared<closed_loop>(1), options);
            }).empty();
  };
  run_options options = until(0);
  CHECK(refuses(options));
  options = {};
  options.batch = {1, 1000};
  CHECK(refuses(options));
  options = {};
  options.stop_after_ns = 0;
  CHECK(refuses(options));
  options = {};
  options.batch_deadline_ns = 0;
  CHECK(refuses(options));
  options = {};
  options.capacity = 0;
  CHECK(refuses(options));
  options.capacity = timeline::largest_capacity;
  CHECK(refuses(options));
  message_of<invalid_argument>([&workers] { return workers.run(nullptr, {}); });
  message_of<runner_error>([&workers] { return workers.finish(); });
  workers.close();
  message_of<runner_error>(
      [&workers] { return workers.run(std::make_shared<closed_loop>(1), {}); });
}

void an_executor_belongs_to_one_runner_at_a_time() {
  auto shared = std::make_shared<delay_executor>(0);
  auto own = std::make_shared<delay_executor>(0);
  runner first({shared});
  const std::string message = message_of<invalid_argument>([&] { runner second({own, shared}); });
  CHECK(message.find("executors[1] is in use by another runner") == 0);
  runner third({own});  // the constructor of the second one released it
  first.close();
  runner fourth({shared});
  CHECK(fourth.run(std::make_shared<closed_loop>(1), until(10)).completed == 10);
}

void an_executor_that_was_abandoned_stays_taken() {
  auto hanging = std::make_shared<calling>([](const batch_view&) { hang(); });
  run_options options;
  options.batch_deadline_ns = 20'000'000;
  {
    runner workers({hanging});
    CHECK(workers.run(std::make_shared<closed_loop>(1), options).reason == end_reason::deadline);
  }
  message_of<invalid_argument>([&] { runner other({hanging}); });
}

void several_threads_close_a_runner_during_a_run() {
  for (int i = 0; i < 20; ++i) {
    runner workers(null_system(2));
    workers.start(std::make_shared<closed_loop>(2), {});
    std::vector<std::thread> closers;
    for (int j = 0; j < 4; ++j) closers.emplace_back([&workers] { workers.close(); });
    CHECK(workers.wait_for(60 * second_ns));
    CHECK(workers.finish().reason == end_reason::stopped);
    for (std::thread& each : closers) each.join();
    message_of<runner_error>(
        [&] { return workers.run(std::make_shared<closed_loop>(1), until(1)); });
  }
}

void two_threads_run_one_after_the_other_or_are_refused() {
  runner workers(null_system(2));
  std::atomic<std::size_t> completed{0};
  std::atomic<std::size_t> refused{0};
  const auto run_often = [&] {
    for (int i = 0; i < 50; ++i) {
      try {
        completed += workers.run(std::make_shared<closed_loop>(1), until(10)).completed;
      } catch (const runner_error&) {
        ++refused;
      }
    }
  };
  std::thread other(run_often);
  run_often();
  other.join();
  CHECK(completed == 10 * (100 - refused));
}

void an_executor_may_only_stop_and_close_its_own_runner() {
  std::unique_ptr<runner> workers;
  std::atomic<int> refused{0};
  const auto use = [&](const batch_view&) {
    const auto refuses = [&](const auto& function) {
      try {
        static_cast<void>(function());
      } catch (const runner_error& error) {
        refused += std::string(error.what()).find("an executor cannot use the runner") == 0;
      }
    };
    refuses([&] { return workers->run(std::make_shared<closed_loop>(1), {}); });
    refuses([&] { return workers->wait_for(1 * second_ns); });
    refuses([&] { return workers->wait_open(1 * second_ns); });
    refuses([&] { return workers->finish(); });
    workers->stop();
    workers->close();
  };
  workers = std::make_unique<runner>(
      std::vector<std::shared_ptr<executor>>{std::make_shared<calling>(use)});
  const outcome result = workers->run(std::make_shared<closed_loop>(1), {});
  CHECK(result.reason == end_reason::stopped && !result.error);
  CHECK(refused == 4);
  workers->close();
}

void an_executor_may_destroy_its_own_runner() {
  std::unique_ptr<runner> workers;
  std::atomic<bool> executor_destroyed{false};
  std::shared_ptr<void> at_the_end(nullptr, [&](void*) { executor_destroyed = true; });
  auto mine = std::make_shared<calling>(
      [&workers, at_the_end = std::move(at_the_end)](const batch_view&) { workers.reset(); });
  workers = std::make_unique<runner>(std::vector<std::shared_ptr<executor>>{std::move(mine)});
  workers->start(std::make_shared<closed_loop>(1), {});
  while (!executor_destroyed) std::this_thread::yield();  // its thread releases the last reference
}

}  // namespace

int main() {
  return run_tests(
      TEST(every_request_of_an_open_loop_completes_once),
      TEST(a_closed_loop_has_no_more_in_flight_than_clients),
      TEST(requests_due_while_one_worker_is_busy_go_to_another),
      TEST(an_asynchronous_executor_keeps_its_depth_in_flight),
      TEST(an_asynchronous_executor_serves_late_arrivals_while_batches_are_in_flight),
      TEST(an_exception_ends_the_run_and_keeps_what_completed),
      TEST(a_device_that_fails_ends_the_run),
      TEST(a_batch_without_its_device_stamps_is_not_recorded),
      TEST(inputs_are_gathered_between_departure_and_submission),
      TEST(inputs_that_cannot_be_gathered_end_the_run),
      TEST(an_executor_that_hangs_while_it_gathers_inputs_is_abandoned),
      TEST(an_executor_that_fails_to_open_is_named),
      TEST(a_hanging_executor_is_abandoned_and_the_runner_refused),
      TEST(a_device_that_never_completes_is_abandoned),
      TEST(an_abandoned_worker_that_returns_changes_nothing), TEST(stop_ends_an_endless_run),
      TEST(a_stop_whose_grace_is_over_abandons_the_worker), TEST(a_runner_runs_a_hundred_times),
      TEST(runs_end_by_time_and_by_capacity), TEST(the_cpu_time_of_a_run_is_reported),
      TEST(a_runner_refuses_what_it_cannot_do), TEST(an_executor_belongs_to_one_runner_at_a_time),
      TEST(an_executor_that_was_abandoned_stays_taken),
      TEST(several_threads_close_a_runner_during_a_run),
      TEST(two_threads_run_one_after_the_other_or_are_refused),
      TEST(an_executor_may_only_stop_and_close_its_own_runner),
      TEST(an_executor_may_destroy_its_own_runner));
}
