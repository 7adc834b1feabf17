// Graphs that the runner executes on the fake driver: data flow, times, faults, leaks.
#include "gpubench/cuda/graph_executor.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "cuda/context.hpp"
#include "cuda/driver.hpp"
#include "fake_cuda_driver.hpp"
#include "gpubench/arrivals.hpp"
#include "gpubench/clock.hpp"
#include "gpubench/cuda/error.hpp"
#include "gpubench/error.hpp"
#include "gpubench/runner.hpp"

using namespace gpubench;
using namespace gpubench::cuda;

namespace {

constexpr std::size_t first_bytes = 300;  // of the first input tensor of a request
constexpr std::size_t second_bytes = 7;
constexpr std::size_t distinct = 5;  // inputs

// Byte `at` of input `number`.
unsigned char byte_of(std::size_t number, std::size_t at) {
  return static_cast<unsigned char>(1 + (number * 53 + at * 7) % 251);
}

std::shared_ptr<const payloads> make_payloads() {
  std::vector<unsigned char> data;
  for (std::size_t number = 0; number < distinct; ++number) {
    for (std::size_t at = 0; at < first_bytes + second_bytes; ++at) {
      data.push_back(byte_of(number, at));
    }
  }
  return std::make_shared<payloads>(std::vector<std::size_t>{first_bytes, second_bytes},
                                    std::move(data));
}

// Graphs and memory as a capture could have made them: each graph copies its input to its output,
// for batches of 1, 2 and 4 requests.
struct captured {
  explicit captured(std::size_t depth, std::int64_t service_ns = 20'000, bool host_copies = true)
      : inputs(make_payloads()) {
    const std::size_t most_bytes = inputs->arena_bytes(4);
    for (std::size_t i = 0; i < depth; ++i) {
      graph_slot slot;
      const auto input = std::make_shared<device_buffer>(0, most_bytes);
      const auto output = std::make_shared<device_buffer>(0, most_bytes);
      memory.insert(memory.end(), {input, output});
      slot.device_input = input->address();
      slot.device_output = output->address();
      if (host_copies) {
        slot.host_input = std::make_shared<pinned_buffer>(0, most_bytes);
        slot.host_output = std::make_shared<pinned_buffer>(0, most_bytes);
      }
      for (const std::size_t requests : {4, 1, 2}) {
        const std::size_t bytes = inputs->arena_bytes(requests);
        CUgraphExec_st* const graph =
            fake_cuda_copy_graph(output->address(), input->address(), bytes, service_ns);
        graphs.push_back(graph);
        slot.graphs.push_back({requests, graph, bytes, bytes});
      }
      slots.push_back(std::move(slot));
    }
  }

  ~captured() {
    const context on(0);
    const current_context current(on);
    for (CUgraphExec_st* const graph : graphs) load_driver().cuGraphExecDestroy.attempt(graph);
  }

  std::shared_ptr<const payloads> inputs;
  std::vector<std::shared_ptr<device_buffer>> memory;
  std::vector<CUgraphExec_st*> graphs;
  std::vector<graph_slot> slots;
};

std::shared_ptr<graph_executor> replaying(std::size_t depth, std::int64_t service_ns = 20'000,
                                          bool host_copies = true) {
  const auto from = std::make_shared<captured>(depth, service_ns, host_copies);
  return std::make_shared<graph_executor>(0, std::exchange(from->slots, {}), from->inputs, from);
}

run_options until(std::size_t completions) {
  run_options options;
  options.stop_after_completions = completions;
  options.capacity = 10'000;
  return options;
}

// Checks that device time stamps are in order, and between submission and completion.
void check_times(const outcome& result) {
  for (const auto& stamps : result.timelines) {
    CHECK(stamps->stamp_count() == stamps->batch_count());
    for (std::size_t i = 0; i < stamps->stamp_count(); ++i) {
      const batch_record& batch = stamps->batches()[i];
      const device_stamps& device = stamps->stamps()[i];
      CHECK(batch.submitted_ns <= device[0]);
      CHECK(device[0] <= device[1] && device[1] <= device[2] && device[2] <= device[3]);
      CHECK(device[3] <= batch.completed_ns);
    }
  }
}

// Checks the host's output of every batch when the batch completes.
class checking final : public executor {
 public:
  explicit checking(std::size_t depth) : from_(std::make_shared<captured>(depth)) {
    slots_ = from_->slots;
    batches_.resize(depth);
    inner_ = std::make_unique<graph_executor>(0, slots_, from_->inputs, from_);
  }
  std::size_t depth() const noexcept override { return inner_->depth(); }
  bool has_device_times() const noexcept override { return true; }
  void open() override { inner_->open(); }
  void close() override { inner_->close(); }
  void fill(std::size_t slot, const request* requests, std::size_t size) override {
    inner_->fill(slot, requests, size);
  }
  batch_state start(std::size_t slot, const batch_view& batch) override {
    batches_[slot].assign(batch.requests, batch.requests + batch.size);
    std::memset(slots_[slot].host_output->data(), 0, slots_[slot].host_output->bytes());
    return inner_->start(slot, batch);
  }
  batch_state poll(std::size_t slot) override {
    if (inner_->poll(slot) == batch_state::running) return batch_state::running;
    const auto& batch = batches_[slot];
    const std::size_t places = batch.size() == 3 ? 4 : batch.size();
    const auto offsets = from_->inputs->offsets(places);
    for (std::size_t i = 0; i < places; ++i) {
      const unsigned char* const first = slots_[slot].host_output->data() + i * first_bytes;
      const unsigned char* const second =
          slots_[slot].host_output->data() + offsets[1] + i * second_bytes;
      if (i < batch.size()) {
        const auto number = static_cast<std::size_t>(batch[i].id) % distinct;
        bool right = true;
        for (std::size_t at = 0; at < first_bytes; ++at) {
          right = right && first[at] == byte_of(number, at);
        }
        for (std::size_t at = 0; at < second_bytes; ++at) {
          right = right && second[at] == byte_of(number, first_bytes + at);
        }
        CHECK(right);
      } else {  // padding, which is not zeros
        CHECK(*std::max_element(first, first + first_bytes) > 0);
      }
    }
    ++checked;
    return batch_state::complete;
  }
  device_stamps device_times(std::size_t slot) override { return inner_->device_times(slot); }
  std::size_t to_host_clock(const batch_record* batches, device_stamps* stamps,
                            std::size_t count) override {
    const std::size_t known = inner_->to_host_clock(batches, stamps, count);
    padded += inner_->padded();
    return known;
  }

  std::size_t checked = 0;  // batches
  std::size_t padded = 0;   // requests

 private:
  std::shared_ptr<captured> from_;
  std::vector<graph_slot> slots_;
  std::vector<std::vector<request>> batches_;
  std::unique_ptr<graph_executor> inner_;
};

void payloads_are_contiguous_tensor_after_tensor() {
  const auto inputs = make_payloads();
  CHECK(inputs->count() == distinct);
  CHECK((inputs->offsets(1) == std::vector<std::size_t>{0, 512}));
  CHECK((inputs->offsets(4) == std::vector<std::size_t>{0, 1280}));
  CHECK(inputs->arena_bytes(4) == 1280 + 4 * second_bytes);
  CHECK(message_of<invalid_argument>([] {
          const payloads none({8}, std::vector<unsigned char>(12));
        }).find("12 bytes") != std::string::npos);
  CHECK(message_of<invalid_argument>([] { const payloads none({}, {}); }).find("tensor") !=
        std::string::npos);
}

void every_request_gets_its_own_bytes_back() {
  for (const std::size_t depth : {1, 2, 3}) {
    const auto device = std::make_shared<checking>(depth);
    runner workers({device});
    run_options options = until(3000);
    options.batch = {4, 50'000};
    const outcome result =
        workers.run(std::make_shared<open_loop>(poisson_arrivals(40'000, 2000, depth)), options);
    CHECK(!result.error && result.completed == 2000);
    check_times(result);
    CHECK(device->checked == result.timelines[0]->batch_count());
    std::size_t threes = 0;
    for (std::size_t i = 0; i < result.timelines[0]->batch_count(); ++i) {
      if (result.timelines[0]->batches()[i].size == 3) ++threes;
    }
    CHECK(device->padded == threes);
  }
  CHECK(fake_cuda_get("pageable_copies") == 0);
  CHECK(fake_cuda_get("overlapping_launches") == 0);
}

void padding_is_counted() {
  const auto device = std::make_shared<checking>(2);
  runner workers({device});
  run_options options = until(300);
  options.batch = {3, 1'000'000'000};  // so long that every batch is full
  const outcome result = workers.run(std::make_shared<closed_loop>(3), options);
  CHECK(!result.error && device->checked == result.completed / 3);
  CHECK(device->padded == device->checked);
}

void slots_are_filled_while_the_device_works() {
  const auto device = replaying(2, 2'000'000);
  runner workers({device});
  const outcome result = workers.run(std::make_shared<closed_loop>(2), until(20));
  check_times(result);
  const timeline& stamps = *result.timelines[0];
  std::size_t overlapping = 0;
  for (std::size_t i = 1; i < stamps.batch_count(); ++i) {
    if (stamps.batches()[i].submitted_ns < stamps.batches()[i - 1].completed_ns) ++overlapping;
  }
  CHECK(2 * overlapping > stamps.batch_count());  // not all of them on a busy machine
}

void durations_are_the_device_s_own() {
  const auto device = replaying(1, 1'000'000);
  runner workers({device});
  const outcome result = workers.run(std::make_shared<closed_loop>(1), until(50));
  check_times(result);
  for (std::size_t i = 0; i < result.timelines[0]->stamp_count(); ++i) {
    const device_stamps& each = result.timelines[0]->stamps()[i];
    CHECK(each[2] - each[1] >= 999'000);  // within an event's resolution
    CHECK(each[1] - each[0] >= 1'500);
  }
  CHECK(device->clock().has_value());
}

void device_times_are_in_order_for_all_clocks_and_wait_modes() {
  for (const wait_mode mode : {wait_mode::spin, wait_mode::yield, wait_mode::block}) {
    for (const long long drift_ppm : {-400, 0, 400}) {
      for (const long long tick_ns : {1, 500}) {
        fake_cuda_set("drift_ppm", drift_ppm);
        fake_cuda_set("event_tick_ns", tick_ns);
        const auto device = replaying(2, 30'000);
        runner workers({device}, mode);
        const outcome result = workers.run(std::make_shared<closed_loop>(3), until(200));
        CHECK(!result.error);
        check_times(result);
        CHECK(device->clock() && device->clock()->contradiction_ns <= tick_ns);
      }
    }
  }
  fake_cuda_reset();
}

void inputs_on_the_device_are_not_copied() {
  const long long copies = fake_cuda_get("copies");
  const auto device = replaying(2, 20'000, false);
  runner workers({device});
  const outcome result = workers.run(std::make_shared<closed_loop>(2), until(100));
  CHECK(!result.error);
  check_times(result);
  for (std::size_t i = 0; i < result.timelines[0]->stamp_count(); ++i) {
    const device_stamps& each = result.timelines[0]->stamps()[i];
    CHECK(each[0] == each[1] && each[2] == each[3]);
  }
  CHECK(fake_cuda_get("copies") == copies);
}

void runs_follow_one_another() {
  const auto device = replaying(2);
  runner workers({device});
  for (int i = 0; i < 100; ++i) {
    const outcome result = workers.run(std::make_shared<closed_loop>(3), until(20));
    CHECK(!result.error && result.completed >= 20);
    check_times(result);
    CHECK(device->padded() == 0);
  }
}

// Checks that batches that completed before a fault are kept, with the times that were read until
// then.
void check_kept(const outcome& result, const std::string& error) {
  CHECK(result.error && result.error->find(error) != std::string::npos);
  CHECK(result.completed > 0 && result.failed > 0);
  const timeline& stamps = *result.timelines[0];
  CHECK(stamps.batch_count() == result.completed);
  CHECK(stamps.stamp_count() <= stamps.batch_count());
  CHECK(stamps.stamp_count() + 2 >= stamps.batch_count());
  for (std::size_t i = 0; i < stamps.stamp_count(); ++i) {
    CHECK(stamps.batches()[i].submitted_ns <= stamps.stamps()[i][0]);
    CHECK(stamps.stamps()[i][3] <= stamps.batches()[i].completed_ns);
  }
}

void a_launch_that_fails_ends_the_run_and_the_next_one_goes_on() {
  const auto device = replaying(2);
  runner workers({device});
  fake_cuda_set("launch_fails_at", 50);
  check_kept(workers.run(std::make_shared<closed_loop>(2), until(1000)),
             "worker 0: cuGraphLaunch: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (701): too many "
             "resources requested for launch");
  const outcome again = workers.run(std::make_shared<closed_loop>(2), until(100));
  CHECK(!again.error && again.completed >= 100);
  check_times(again);
}

void a_sticky_error_ends_the_run_and_what_completed_stays() {
  for (const std::size_t depth : {1, 2}) {
    const auto device = replaying(depth);
    runner workers({device});
    fake_cuda_set("launch_kills_at", 50);
    check_kept(workers.run(std::make_shared<closed_loop>(2), until(1000)),
               "CUDA_ERROR_ILLEGAL_ADDRESS (700)");
    const outcome again = workers.run(std::make_shared<closed_loop>(2), until(100));
    CHECK(again.error && again.completed == 0);
  }
}

void events_without_timing_are_an_error() {
  fake_cuda_set("event_timing", 0);
  runner workers({replaying(1)});
  const outcome result = workers.run(std::make_shared<closed_loop>(1), until(10));
  CHECK(result.error && result.error->find("cuEventElapsedTime") != std::string::npos);
  fake_cuda_reset();
}

void a_slow_copy_is_in_the_times_of_its_batch() {
  const auto device = replaying(1);
  runner workers({device});
  fake_cuda_set("slow_copy_ns", 5'000'000);
  fake_cuda_set("slow_copy_at", 21);  // the copy to the device of the eleventh batch
  const outcome result = workers.run(std::make_shared<closed_loop>(1), until(20));
  check_times(result);
  std::int64_t longest_ns = 0;
  std::size_t slowest = 0;
  for (std::size_t i = 0; i < result.timelines[0]->stamp_count(); ++i) {
    const device_stamps& each = result.timelines[0]->stamps()[i];
    if (each[1] - each[0] > longest_ns) {
      longest_ns = each[1] - each[0];
      slowest = i;
    }
  }
  CHECK(slowest == 10 && longest_ns >= 5'000'000);
  fake_cuda_reset();
}

void memory_that_the_device_may_still_use_is_not_freed() {
  CHECK(fake_cuda_get("freed_in_use") == 0);
}

void an_executor_without_memory_cannot_be_made() {
  fake_cuda_set("out_of_memory_at", 1);
  CHECK(message_of<cuda_error>([] { replaying(1); }).find("out of memory") != std::string::npos);
  fake_cuda_reset();
}

void unusable_slots_are_refused() {
  const auto refusal = [](const std::function<void(captured&)>& break_slots) {
    const auto from = std::make_shared<captured>(2);
    break_slots(*from);
    return message_of<invalid_argument>(
        [&] { const graph_executor none(0, from->slots, from->inputs, from); });
  };
  CHECK(refusal([](captured& all) { all.slots.clear(); }) ==
        "slots is empty; give one per batch in flight");
  CHECK(refusal([](captured& all) { all.slots[1].graphs.clear(); }) ==
        "slots[1] has no graph; give at least one size of batch");
  CHECK(refusal([](captured& all) { all.slots[1].graphs[0].graph = nullptr; }).find("null") !=
        std::string::npos);
  CHECK(refusal([](captured& all) {
          all.slots[0].graphs[0].input_bytes = 1;
        }).find("takes 1 bytes of input") != std::string::npos);
  CHECK(refusal([](captured& all) {
          all.slots[0].graphs[0].output_bytes = 1 << 20;
        }).find("host_output") != std::string::npos);
  CHECK(refusal([](captured& all) {
          all.slots[1].host_input = nullptr;
        }).find("copies other things") != std::string::npos);
  CHECK(refusal([](captured& all) { all.inputs = nullptr; }).find("give payloads") !=
        std::string::npos);

  runner workers({replaying(1)});
  run_options options = until(5);
  options.batch = {5, 0};
  const outcome result = workers.run(std::make_shared<closed_loop>(5), options);
  CHECK(result.error && result.error->find("the largest takes 4") != std::string::npos);
}

void nothing_leaks() {
  CHECK(fake_cuda_get("live") == 0);
}

// Must be the last test: it leaves objects that are never destroyed.
void work_that_never_ends_is_given_up_at_the_deadline() {
  const auto device = replaying(2);
  runner workers({device});
  fake_cuda_set("launch_hangs_at", 50);
  run_options options = until(1000);
  options.batch_deadline_ns = 200'000'000;
  const outcome result = workers.run(std::make_shared<closed_loop>(2), options);
  CHECK(result.reason == end_reason::deadline && result.completed >= 48);
  CHECK(result.timelines[0]->batch_count() == result.completed);
  CHECK(result.timelines[0]->stamp_count() == 0);
  CHECK(fake_cuda_get("freed_in_use") == 0);
}

}  // namespace

int main() {
  return run_tests(
      TEST(payloads_are_contiguous_tensor_after_tensor),
      TEST(every_request_gets_its_own_bytes_back), TEST(padding_is_counted),
      TEST(slots_are_filled_while_the_device_works), TEST(durations_are_the_device_s_own),
      TEST(device_times_are_in_order_for_all_clocks_and_wait_modes),
      TEST(inputs_on_the_device_are_not_copied), TEST(runs_follow_one_another),
      TEST(a_launch_that_fails_ends_the_run_and_the_next_one_goes_on),
      TEST(a_sticky_error_ends_the_run_and_what_completed_stays),
      TEST(events_without_timing_are_an_error), TEST(a_slow_copy_is_in_the_times_of_its_batch),
      TEST(an_executor_without_memory_cannot_be_made), TEST(unusable_slots_are_refused),
      TEST(memory_that_the_device_may_still_use_is_not_freed), TEST(nothing_leaks),
      TEST(work_that_never_ends_is_given_up_at_the_deadline));
}
