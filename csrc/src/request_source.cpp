#include "gpubench/request_source.hpp"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "gpubench/error.hpp"
#include "memory.hpp"

namespace gpubench {
namespace {

// Returns `count`, or throws invalid_argument if it is 0 or if a queue of `count` requests does not
// fit into memory. A function, so that constructors can check before they allocate.
std::size_t checked_capacity(std::size_t count, const char* name) {
  if (count == 0) {
    throw invalid_argument(std::string(name) + " is 0; give at least 1");
  }
  require_memory(count, sizeof(request), std::string(name) + " " + std::to_string(count),
                 std::string("lower ") + name);
  return count;
}

std::vector<std::int64_t> due_before(const request_queue& queue, std::int64_t before_ns) {
  std::vector<std::int64_t> due;
  for (std::size_t i = 0; i < queue.size() && queue.due_ns(i) < before_ns; ++i) {
    due.push_back(queue.due_ns(i));
  }
  return due;
}

std::shared_ptr<const std::int64_t> to_shared(std::vector<std::int64_t> values) {
  const auto owner = std::make_shared<const std::vector<std::int64_t>>(std::move(values));
  return {owner, owner->data()};
}

}  // namespace

void request_source::acquire() {
  if (in_use_.exchange(true)) {
    if (!owner_.is_current()) {
      throw invalid_argument("the source is in use by a run of process " +
                             std::to_string(owner_.pid()) + "; make a new one after fork");
    }
    throw invalid_argument(
        "the source is in use by another run, or by one that had to abandon a worker; make a new "
        "source");
  }
}

closed_loop::closed_loop(std::size_t clients, std::int64_t think_time_ns)
    : waiting_(checked_capacity(clients, "clients")), think_time_ns_(think_time_ns) {
  if (think_time_ns < 0 || think_time_ns > longest_span_ns) {
    throw invalid_argument("think_time_ns is " + std::to_string(think_time_ns) +
                           "; give a time from 0 to 1e18 ns");
  }
}

void closed_loop::start(std::int64_t start_ns) noexcept {
  waiting_.clear();
  for (std::size_t client = 0; client < waiting_.capacity(); ++client) {
    waiting_.push({start_ns, static_cast<std::int64_t>(client)});
  }
}

decision closed_loop::next(std::int64_t now_ns, const batching& rule, request* batch) noexcept {
  if (waiting_.size() == 0) return {decision::kind::wait};
  return form_batch(rule, waiting_, now_ns, batch);
}

void closed_loop::complete(const request* requests, std::size_t count,
                           std::int64_t completed_ns) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    waiting_.push({completed_ns + think_time_ns_, requests[i].id});
  }
}

std::vector<std::int64_t> closed_loop::waiting_before(std::int64_t before_ns) const {
  return due_before(waiting_, before_ns);
}

open_loop::open_loop(std::vector<std::int64_t> due_ns)
    : count_(due_ns.size()), due_(to_shared(std::move(due_ns))) {
  check_schedule();
}

open_loop::open_loop(std::shared_ptr<const std::int64_t> due_ns, std::size_t count)
    : count_(count), due_(std::move(due_ns)) {
  check_schedule();
}

void open_loop::check_schedule() const {
  if (count_ == 0) {
    throw invalid_argument("due_ns is empty; a schedule has at least 1 request");
  }
  const std::int64_t* const due = due_.get();
  if (due[0] < 0) {
    throw invalid_argument("due_ns[0] is " + std::to_string(due[0]) +
                           "; due times are offsets from the start, 0 or later");
  }
  for (std::size_t i = 1; i < count_; ++i) {
    if (due[i] < due[i - 1]) {
      throw invalid_argument("due_ns[" + std::to_string(i) + "] is " + std::to_string(due[i]) +
                             ", earlier than the one before (" + std::to_string(due[i - 1]) +
                             "); sort the due times");
    }
  }
  if (due[count_ - 1] > longest_span_ns) {
    throw invalid_argument("due_ns ends at " + std::to_string(due[count_ - 1]) +
                           "; give offsets in nanoseconds up to 1e18");
  }
}

void open_loop::start(std::int64_t start_ns) noexcept {
  next_ = 0;
  start_ns_ = start_ns;
}

decision open_loop::next(std::int64_t now_ns, const batching& rule, request* batch) noexcept {
  if (finished()) return {decision::kind::finished};
  return form_batch(rule, *this, now_ns, batch);
}

std::vector<std::int64_t> open_loop::waiting_before(std::int64_t before_ns) const {
  std::vector<std::int64_t> due;
  for (std::size_t i = 0; i < size() && due_ns(i) < before_ns; ++i) due.push_back(due_ns(i));
  return due;
}

live_queue::live_queue(std::size_t capacity) : waiting_(checked_capacity(capacity, "capacity")) {}

void live_queue::acquire() {
  owner().require_current("this queue");
  request_source::acquire();
}

live_queue::submission live_queue::submit(std::int64_t id, std::int64_t longest_wait_ns,
                                          std::int64_t due_ns) {
  owner().require_current("this queue");
  auto lock = queue().lock();
  if (!closed_ && waiting_.size() == waiting_.capacity() && longest_wait_ns > 0) {
    const auto room_or_end = [this] { return closed_ || waiting_.size() < waiting_.capacity(); };
    ++waiting_for_room_;
    room_.wait_for(lock, std::chrono::nanoseconds(std::min(longest_wait_ns, longest_span_ns)),
                   room_or_end);
    --waiting_for_room_;
  }
  if (closed_) return submission::closed;
  if (waiting_.size() == waiting_.capacity()) return submission::full;
  waiting_.push({due_ns, id});
  queue().notify_all();
  return submission::accepted;
}

void live_queue::close() {
  if (!owner().is_current()) return;
  const auto lock = queue().lock();
  closed_ = true;
  queue().notify_all();
  room_.notify_all();
}

decision live_queue::next(std::int64_t now_ns, const batching& rule, request* batch) noexcept {
  if (waiting_.size() == 0) return {closed_ ? decision::kind::finished : decision::kind::wait};
  const decision decided = form_batch(rule, waiting_, now_ns, batch);
  if (decided.what == decision::kind::dispatch && waiting_for_room_ > 0) room_.notify_all();
  return decided;
}

std::vector<std::int64_t> live_queue::waiting_before(std::int64_t before_ns) const {
  return due_before(waiting_, before_ns);
}

}  // namespace gpubench
