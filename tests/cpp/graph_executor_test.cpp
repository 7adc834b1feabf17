// Graphs that the runner executes on the fake driver: data flow, times, faults, leaks.
#include "gpubench/cuda/graph_executor.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
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

using sizes = std::vector<std::size_t>;  // bytes of each input tensor of a request

const sizes small_tensors{300, 7};
const sizes mixed_tensors{30'000, 7, 5, 40'000};  // the device copies large ones one by one
const sizes large_tensors{25'000};

constexpr std::size_t distinct = 5;  // inputs

enum class where { host, pinned, device };  // the inputs are

// Byte `at` of input `number`.
unsigned char byte_of(std::size_t number, std::size_t at) {
  return static_cast<unsigned char>(1 + (number * 53 + at * 7) % 251);
}

std::shared_ptr<const payloads> make_payloads(const sizes& tensors, where place) {
  if (place == where::device) return nullptr;
  std::vector<unsigned char> data;
  for (std::size_t number = 0; number < distinct; ++number) {
    for (std::size_t at = 0;
         at < std::accumulate(tensors.begin(), tensors.end(), sizes::value_type{}); ++at) {
      data.push_back(byte_of(number, at));
    }
  }
  return place == where::host ? std::make_shared<payloads>(tensors, data)
                              : std::make_shared<payloads>(tensors, data, 0);
}

// Graphs and memory as a capture could have made them: each graph copies its input to its output,
// for batches of 1, 2 and 4 requests, or of 1 only.
struct captured {
  explicit captured(std::size_t depth, std::int64_t service_ns = 20'000, where place = where::host,
                    const sizes& tensors = small_tensors, const sizes& batches = {4, 1, 2})
      : inputs(make_payloads(tensors, place)) {
    const payloads layout(tensors, std::vector<unsigned char>(std::accumulate(
                                       tensors.begin(), tensors.end(), sizes::value_type{})));
    const std::size_t most = *std::max_element(batches.begin(), batches.end());
    const std::size_t most_bytes = layout.arena_bytes(most);
    for (std::size_t i = 0; i < depth; ++i) {
      graph_slot slot;
      const auto input = std::make_shared<device_buffer>(0, most_bytes);
      const auto output = std::make_shared<device_buffer>(0, most_bytes);
      memory.insert(memory.end(), {input, output});
      slot.device_input = input->address();
      slot.device_output = output->address();
      if (inputs != nullptr) {
        if (inputs->gathers(most)) slot.host_input = std::make_shared<pinned_buffer>(0, most_bytes);
        slot.host_output = std::make_shared<pinned_buffer>(0, most_bytes);
      }
      for (const std::size_t requests : batches) {
        const std::size_t bytes = layout.arena_bytes(requests);
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
                                          where place = where::host,
                                          const sizes& tensors = small_tensors,
                                          const sizes& batches = {4, 1, 2}) {
  const auto from = std::make_shared<captured>(depth, service_ns, place, tensors, batches);
  return std::make_shared<graph_executor>(0, std::exchange(from->slots, {}), from->inputs, from);
}

bool has_batched_copies() {
  return load_driver().cuMemcpyBatchAsync.available();
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
  explicit checking(std::size_t depth, where place = where::host,
                    const sizes& tensors = small_tensors)
      : tensors_(tensors), from_(std::make_shared<captured>(depth, 20'000, place, tensors)) {
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
    bool right = true;
    std::size_t in_request = 0;
    for (std::size_t tensor = 0; tensor < tensors_.size(); ++tensor) {
      for (std::size_t i = 0; i < places; ++i) {  // padding repeats the requests
        const auto number = static_cast<std::size_t>(batch[i % batch.size()].id) % distinct;
        const unsigned char* const given =
            slots_[slot].host_output->data() + offsets[tensor] + i * tensors_[tensor];
        for (std::size_t at = 0; at < tensors_[tensor]; ++at) {
          right = right && given[at] == byte_of(number, in_request + at);
        }
      }
      in_request += tensors_[tensor];
    }
    CHECK(right);
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
  const sizes tensors_;
  std::shared_ptr<captured> from_;
  std::vector<graph_slot> slots_;
  std::vector<std::vector<request>> batches_;
  std::unique_ptr<graph_executor> inner_;
};

void payloads_are_contiguous_tensor_after_tensor() {
  const auto inputs = make_payloads(small_tensors, where::host);
  CHECK(inputs->count() == distinct);
  CHECK((inputs->offsets(1) == std::vector<std::size_t>{0, 512}));
  CHECK((inputs->offsets(4) == std::vector<std::size_t>{0, 1280}));
  CHECK(inputs->arena_bytes(4) == 1280 + 4 * 7);
  CHECK(message_of<invalid_argument>([] {
          const payloads none({8}, std::vector<unsigned char>(12));
        }).find("12 bytes") != std::string::npos);
  CHECK(message_of<invalid_argument>([] { const payloads none({}, {}); }).find("tensor") !=
        std::string::npos);
}

// Runs batches of 1 to 4 requests, and checks what each of them got.
void check_own_bytes(std::size_t depth, where place, const sizes& tensors) {
  const auto device = std::make_shared<checking>(depth, place, tensors);
  runner workers({device});
  run_options options = until(3000);
  options.batch = {4, 50'000};
  const outcome result =
      workers.run(std::make_shared<open_loop>(poisson_arrivals(40'000, 500, depth)), options);
  CHECK(!result.error && result.completed == 500);
  check_times(result);
  CHECK(device->checked == result.timelines[0]->batch_count());
  std::size_t threes = 0;
  for (std::size_t i = 0; i < result.timelines[0]->batch_count(); ++i) {
    if (result.timelines[0]->batches()[i].size == 3) ++threes;
  }
  CHECK(device->padded == threes);
}

void every_request_gets_its_own_bytes_back() {
  for (const std::size_t depth : {1, 2, 3}) check_own_bytes(depth, where::host, small_tensors);
  check_own_bytes(2, where::host, mixed_tensors);
  CHECK(fake_cuda_get("pageable_copies") == 0);
  CHECK(fake_cuda_get("overlapping_launches") == 0);
}

void every_request_in_pinned_memory_gets_its_own_bytes_back() {
  const long long batched = fake_cuda_get("batched_copies");
  for (const std::size_t depth : {1, 2}) {
    for (const sizes& tensors : {small_tensors, mixed_tensors, large_tensors}) {
      check_own_bytes(depth, where::pinned, tensors);
    }
  }
  CHECK(fake_cuda_get("pageable_copies") == 0);
  CHECK(fake_cuda_get("overlapping_launches") == 0);
  CHECK((fake_cuda_get("batched_copies") > batched) == has_batched_copies());
}

// The copies to the device of a batch of `size` requests, and the calls for several of them.
std::pair<long long, long long> copies_of_a_batch(std::size_t size, where place,
                                                  const sizes& tensors,
                                                  const sizes& batches = {4, 1, 2}) {
  const auto device = replaying(1, 20'000, place, tensors, batches);
  runner workers({device});
  run_options options = until(size);
  options.batch = {size, size > 1 ? 1'000'000'000 : 0};
  const long long copies = fake_cuda_get("copies");
  const long long calls = fake_cuda_get("batched_copies");
  const outcome result = workers.run(std::make_shared<closed_loop>(size), options);
  CHECK(!result.error);
  const auto batch_count = static_cast<long long>(result.timelines[0]->batch_count());
  return {(fake_cuda_get("copies") - copies) / batch_count - 1,  // less the copy to the host
          (fake_cuda_get("batched_copies") - calls) / batch_count};
}

void inputs_take_as_few_copies_and_calls_as_possible() {
  using count = std::pair<long long, long long>;
  const long long one_call = has_batched_copies() ? 1 : 0;
  for (const sizes& tensors : {small_tensors, mixed_tensors, large_tensors}) {
    CHECK((copies_of_a_batch(1, where::host, tensors) == count{1, 0}));
    CHECK((copies_of_a_batch(4, where::host, tensors) == count{1, 0}));
    CHECK((copies_of_a_batch(1, where::pinned, tensors) == count{1, 0}));
  }
  // Small tensors are gathered, also those between two large ones.
  CHECK((copies_of_a_batch(4, where::pinned, small_tensors) == count{1, 0}));
  CHECK((copies_of_a_batch(4, where::pinned, mixed_tensors) == count{9, one_call}));
  CHECK((copies_of_a_batch(4, where::pinned, large_tensors) == count{4, one_call}));
  CHECK((copies_of_a_batch(3, where::pinned, large_tensors) == count{4, one_call}));
}

void the_cpu_gathers_only_small_tensors_of_joined_requests() {
  const auto in_host_memory = make_payloads(large_tensors, where::host);
  CHECK(in_host_memory->gathers(1) && !in_host_memory->pinned());
  CHECK(replaying(1)->fills_inputs());
  for (const sizes& tensors : {small_tensors, mixed_tensors, large_tensors}) {
    const auto inputs = make_payloads(tensors, where::pinned);
    CHECK(inputs->pinned() && !inputs->gathers(1));
    CHECK(inputs->gathers(2) == (tensors != large_tensors));
    CHECK(!replaying(1, 20'000, where::pinned, tensors, {1})->fills_inputs());
    CHECK(replaying(1, 20'000, where::pinned, tensors)->fills_inputs() == inputs->gathers(4));
  }
  // From 8 KiB on, one call for all copies is faster than gathering; calls of their own need 24.
  CHECK(make_payloads({(8 << 10) - 1}, where::pinned)->gathers(2));
  CHECK(make_payloads({8 << 10}, where::pinned)->gathers(2) == !has_batched_copies());
  CHECK(!make_payloads({24 << 10}, where::pinned)->gathers(2));
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
  const auto device = replaying(2, 20'000, where::device);
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
void check_kept(const outcome& result, const std::string& error, std::size_t batch = 1) {
  CHECK(result.error && result.error->find(error) != std::string::npos);
  CHECK(result.completed > 0 && result.failed > 0);
  const timeline& stamps = *result.timelines[0];
  CHECK(stamps.batch_count() * batch == result.completed);
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
  fake_cuda_set("slow_copy_ns", 50'000'000);
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
  CHECK(slowest == 10 && longest_ns >= 50'000'000);
  fake_cuda_reset();
}

void memory_that_the_device_may_still_use_is_not_freed() {
  CHECK(fake_cuda_get("freed_in_use") == 0);
}

void a_copy_that_fails_ends_the_run_and_the_next_one_goes_on() {
  const std::string call = has_batched_copies() ? "cuMemcpyBatchAsync" : "cuMemcpyHtoDAsync";
  const auto device = replaying(2, 20'000, where::pinned, large_tensors);
  runner workers({device});
  run_options options = until(1000);
  options.batch = {4, 1'000'000'000};
  fake_cuda_set("copy_fails_at", 53);  // the third copy to the device of the eleventh batch
  check_kept(workers.run(std::make_shared<closed_loop>(8), options),
             "worker 0: " + call + ": CUDA_ERROR_INVALID_VALUE (1): invalid argument", 4);
  options.stop_after_completions = 100;
  const outcome again = workers.run(std::make_shared<closed_loop>(8), options);
  CHECK(!again.error && again.completed >= 100);
  check_times(again);
}

void an_executor_without_memory_cannot_be_made() {
  fake_cuda_set("out_of_memory_at", 1);
  CHECK(message_of<cuda_error>([] { replaying(1); }).find("out of memory") != std::string::npos);
  fake_cuda_set("out_of_memory_at", 1);
  CHECK(message_of<cuda_error>([] { make_payloads(large_tensors, where::pinned); }) ==
        "cuMemHostAlloc: CUDA_ERROR_OUT_OF_MEMORY (2): out of memory");
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
  CHECK(refusal([](captured& all) {
          for (graph_slot& each : all.slots) each.host_input = nullptr;
        }).find("no host_input") != std::string::npos);
  CHECK(refusal([](captured& all) { all.slots[0].device_input = 0; }).find("no device_input") !=
        std::string::npos);
  CHECK(refusal([](captured& all) {
          for (graph_slot& each : all.slots) each.graphs.erase(each.graphs.begin());
          all.inputs = make_payloads(large_tensors, where::pinned);
          const std::size_t bytes = all.inputs->arena_bytes(2);
          for (graph_slot& each : all.slots) {
            each.graphs = {{2, each.graphs[0].graph, bytes, 8}};
            each.host_input = std::make_shared<pinned_buffer>(0, bytes);
          }
        }).find("gathers no inputs; leave it out") != std::string::npos);

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
      TEST(every_request_gets_its_own_bytes_back),
      TEST(every_request_in_pinned_memory_gets_its_own_bytes_back),
      TEST(inputs_take_as_few_copies_and_calls_as_possible),
      TEST(the_cpu_gathers_only_small_tensors_of_joined_requests), TEST(padding_is_counted),
      TEST(slots_are_filled_while_the_device_works), TEST(durations_are_the_device_s_own),
      TEST(device_times_are_in_order_for_all_clocks_and_wait_modes),
      TEST(inputs_on_the_device_are_not_copied), TEST(runs_follow_one_another),
      TEST(a_launch_that_fails_ends_the_run_and_the_next_one_goes_on),
      TEST(a_sticky_error_ends_the_run_and_what_completed_stays),
      TEST(events_without_timing_are_an_error), TEST(a_slow_copy_is_in_the_times_of_its_batch),
      TEST(a_copy_that_fails_ends_the_run_and_the_next_one_goes_on),
      TEST(an_executor_without_memory_cannot_be_made), TEST(unusable_slots_are_refused),
      TEST(memory_that_the_device_may_still_use_is_not_freed), TEST(nothing_leaks),
      TEST(work_that_never_ends_is_given_up_at_the_deadline));
}
