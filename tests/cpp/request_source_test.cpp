// The sources and the batching rule without a driver; the live queue also with many threads.
#include "gpubench/request_source.hpp"

#include <memory>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "check.hpp"
#include "gpubench/clock.hpp"
#include "gpubench/delay_executor.hpp"
#include "gpubench/error.hpp"
#include "gpubench/runner.hpp"

using namespace gpubench;

namespace {

using kind = decision::kind;

void the_queue_does_not_use_future_requests() {
  open_loop source({0, 10, 1000});
  source.start(0);
  std::vector<request> taken(4);
  const batching rule{4, 50};
  // Only two requests arrive in time. The rule waits the whole delay, although the schedule is
  // known.
  CHECK(source.next(10, rule, taken.data()).until_ns == 50);
  const decision decided = source.next(50, rule, taken.data());
  CHECK(decided.what == kind::dispatch && decided.count == 2);
  CHECK(taken[0].id == 0 && taken[1].id == 1);
}

void a_late_worker_takes_all_that_is_due_up_to_max_batch() {
  open_loop source({0, 10, 20, 30, 40});
  source.start(100);
  std::vector<request> taken(3);
  CHECK(source.next(99, {3, 5}, taken.data()).until_ns == 105);
  CHECK(source.next(135, {3, 5}, taken.data()).count == 3);
  CHECK(taken[0].scheduled_ns == 100 && taken[2].scheduled_ns == 120);
  CHECK(source.next(135, {3, 5}, taken.data()).count == 1);
  CHECK((source.waiting_before(141) == std::vector<std::int64_t>{140}));
  CHECK(source.waiting_before(140).empty());
  CHECK(source.next(200, {3, 5}, taken.data()).count == 1);
  CHECK(source.next(200, {3, 5}, taken.data()).what == kind::finished);
}

// Workers that complete at nearly the same time may return their clients in another order.
void the_queue_is_in_order_of_due_times() {
  std::minstd_rand random(1);
  for (int round = 0; round < 100; ++round) {
    request_queue queue(16);
    for (int i = 0; i < 1000; ++i) {
      if (queue.size() < queue.capacity() && (random() % 2 == 0 || queue.size() == 0)) {
        queue.push({static_cast<std::int64_t>(random() % 100), i});
      } else {
        queue.pop();
      }
      for (std::size_t k = 1; k < queue.size(); ++k) CHECK(queue.due_ns(k - 1) <= queue.due_ns(k));
    }
  }
}

void a_closed_loop_has_its_clients_in_the_queue_or_in_flight() {
  closed_loop source(3, 10);
  source.start(0);
  std::vector<request> taken(2);
  CHECK(source.next(0, {2, 0}, taken.data()).count == 2);
  request third;
  CHECK(source.next(0, {1, 0}, &third).count == 1);
  CHECK(source.next(5, {2, 0}, taken.data()).what == kind::wait);
  source.complete(&third, 1, 7);
  CHECK(source.next(7, {1, 0}, &third).until_ns == 17);
  CHECK(source.next(17, {1, 0}, &third).count == 1 && third.id == 2);
  CHECK(!source.finished());
}

void a_full_live_queue_refuses_and_a_closed_one_too() {
  live_queue source(2);
  CHECK(source.submit(1) == live_queue::submission::accepted);
  CHECK(source.submit(2) == live_queue::submission::accepted);
  CHECK(source.submit(3) == live_queue::submission::full);
  CHECK(source.submit(3, 1'000'000) == live_queue::submission::full);
  source.close();
  CHECK(source.submit(4, 1'000'000'000) == live_queue::submission::closed);
  std::vector<request> taken(2);
  CHECK(source.next(now_ns(), {2, 0}, taken.data()).count == 2);
  CHECK(source.finished());
}

// Four threads submit 20,000 requests each to a queue of eight.
void live_submission_loses_nothing_under_back_pressure() {
  constexpr std::int64_t each = 20'000;
  auto source = std::make_shared<live_queue>(8);
  std::vector<std::thread> submitters;
  for (std::int64_t s = 0; s < 4; ++s) {
    submitters.emplace_back([&source, s] {
      for (std::int64_t i = 0; i < each; ++i) {
        while (source->submit(s * each + i, 1'000'000'000) != live_queue::submission::accepted) {
        }
      }
    });
  }
  std::thread closer([&] {
    for (std::thread& submitter : submitters) submitter.join();
    source->close();
  });
  runner workers({std::make_shared<delay_executor>(0), std::make_shared<delay_executor>(0)});
  run_options options;
  options.batch = {4, 1000};
  const outcome result = workers.run(source, options);
  closer.join();
  CHECK(result.reason == end_reason::finished);
  std::set<std::int64_t> ids;
  for (const auto& stamps : result.timelines) {
    for (std::size_t i = 0; i < stamps->request_count(); ++i) ids.insert(stamps->requests()[i].id);
  }
  CHECK(result.completed == 4 * each && ids.size() == 4 * each);
}

void the_next_run_serves_requests_left_in_a_live_queue() {
  auto source = std::make_shared<live_queue>(10);
  for (int i = 0; i < 10; ++i) CHECK(source->submit(i) == live_queue::submission::accepted);
  source->close();
  runner workers({std::make_shared<delay_executor>(0)});
  run_options options;
  options.stop_after_completions = 4;
  const outcome first = workers.run(source, options);
  CHECK(first.completed == 4 && first.offered() == 10);
  const outcome second = workers.run(source, {});
  CHECK(second.completed == 6 && second.reason == end_reason::finished);
}

void bad_arguments_name_the_fix() {
  const auto fixes = [](const std::string& message, const char* fix) {
    return message.find(fix) != std::string::npos;
  };
  const auto schedule = [](std::vector<std::int64_t> due) {
    return message_of<invalid_argument>([due] { open_loop source(due); });
  };
  CHECK(fixes(schedule({0, 5, 4}), "due_ns[2] is 4"));
  CHECK(fixes(schedule({0, 5, 4}), "sort the due times"));
  CHECK(fixes(schedule({-1, 5}), "0 or later"));
  CHECK(fixes(schedule({}), "at least 1 request"));
  CHECK(fixes(schedule({INT64_MAX}), "up to 1e18"));
  CHECK(fixes(message_of<invalid_argument>([] { closed_loop source(0); }), "at least 1"));
  CHECK(
      fixes(message_of<invalid_argument>([] { closed_loop source(1UL << 50); }), "lower clients"));
  message_of<invalid_argument>([] { closed_loop source(1, -1); });
  message_of<invalid_argument>([] { live_queue source(0); });
  CHECK(fixes(message_of<invalid_argument>([] { check(batching{1, 5}); }), "set max_batch"));
  message_of<invalid_argument>([] { check(batching{0, 0}); });
  message_of<invalid_argument>([] { check(batching{2, -1}); });
}

}  // namespace

int main() {
  return run_tests(TEST(the_queue_does_not_use_future_requests),
                   TEST(a_late_worker_takes_all_that_is_due_up_to_max_batch),
                   TEST(the_queue_is_in_order_of_due_times),
                   TEST(a_closed_loop_has_its_clients_in_the_queue_or_in_flight),
                   TEST(a_full_live_queue_refuses_and_a_closed_one_too),
                   TEST(live_submission_loses_nothing_under_back_pressure),
                   TEST(the_next_run_serves_requests_left_in_a_live_queue),
                   TEST(bad_arguments_name_the_fix));
}
