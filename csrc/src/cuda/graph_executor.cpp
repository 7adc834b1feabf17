#include "gpubench/cuda/graph_executor.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "cuda/batch_times.hpp"
#include "cuda/input_copies.hpp"
#include "gpubench/clock.hpp"
#include "gpubench/cuda/error.hpp"
#include "gpubench/error.hpp"

namespace gpubench::cuda {
namespace {

// How long the executor waits for work of a run that has ended.
constexpr std::int64_t drain_deadline_ns = 10'000'000'000;
constexpr std::int64_t drain_pause_ns = 100'000;

[[noreturn]] void refuse(std::size_t slot, const std::string& problem) {
  throw invalid_argument("slots[" + std::to_string(slot) + "] " + problem);
}

void check_graphs(std::size_t number, const graph_slot& slot, const payloads* inputs) {
  if (slot.graphs.empty()) refuse(number, "has no graph; give at least one size of batch");
  for (const sized_graph& each : slot.graphs) {
    const std::string size = "its graph for " + std::to_string(each.requests) + " requests ";
    if (each.requests == 0) refuse(number, "has a graph for 0 requests; give at least 1");
    if (each.graph == nullptr) refuse(number, "is unusable: " + size + "is null");
    if (inputs != nullptr && inputs->arena_bytes(each.requests) != each.input_bytes) {
      refuse(number, "does not fit the payloads: " + size + "takes " +
                         std::to_string(each.input_bytes) + " bytes of input, the payloads make " +
                         std::to_string(inputs->arena_bytes(each.requests)));
    }
    if (slot.host_input != nullptr && each.input_bytes > slot.host_input->bytes()) {
      refuse(number, "is too small: " + size + "takes more bytes of input than host_input has");
    }
    if (slot.host_output != nullptr && each.output_bytes > slot.host_output->bytes()) {
      refuse(number, "is too small: " + size + "gives more bytes than host_output has");
    }
  }
}

// Also sorts the graphs of each slot by size.
void check_slots(std::vector<graph_slot>& slots, const payloads* inputs) {
  if (slots.empty()) throw invalid_argument("slots is empty; give one per batch in flight");
  for (std::size_t i = 0; i < slots.size(); ++i) {
    graph_slot& slot = slots[i];
    if ((slot.host_input != nullptr) != (slots[0].host_input != nullptr) ||
        (slot.host_output != nullptr) != (slots[0].host_output != nullptr)) {
      refuse(i,
             "copies other things than slots[0]; give all of them host_input, or none, and the "
             "same for host_output");
    }
    if (slot.host_input != nullptr && inputs == nullptr) {
      refuse(i, "has host_input and there are no payloads to write into it; give payloads");
    }
    check_graphs(i, slot, inputs);
    std::sort(slot.graphs.begin(), slot.graphs.end(),
              [](const sized_graph& a, const sized_graph& b) { return a.requests < b.requests; });
    if (inputs == nullptr) continue;
    if (slot.device_input == 0) refuse(i, "has payloads and no device_input to copy them to");
    const bool gathers = inputs->gathers(slot.graphs.back().requests);
    if (gathers != (slot.host_input != nullptr)) {
      refuse(i, gathers ? "has no host_input, where the CPU gathers inputs; give a pinned buffer"
                        : "has host_input, and the CPU gathers no inputs; leave it out");
    }
  }
}

// The number of the smallest graph of `slot` that is large enough.
std::size_t smallest_graph_for(const graph_slot& slot, std::size_t requests) {
  const auto found = std::lower_bound(
      slot.graphs.begin(), slot.graphs.end(), requests,
      [](const sized_graph& each, std::size_t wanted) { return each.requests < wanted; });
  if (found == slot.graphs.end()) {
    throw invalid_argument("a batch of " + std::to_string(requests) +
                           " requests has no graph; the largest takes " +
                           std::to_string(slot.graphs.back().requests) + "; lower max_batch");
  }
  return static_cast<std::size_t>(found - slot.graphs.begin());
}

}  // namespace

struct graph_executor::device_side {
  device_side(shared_context in_context, const std::vector<graph_slot>& slots,
              const payloads* inputs)
      : device(std::move(in_context)),
        current(*device),
        times(device, slots.size(), inputs != nullptr, slots[0].host_output != nullptr) {
    for (const graph_slot& slot : slots) {
      streams.emplace_back(device);
      copies_in.emplace_back();
      if (inputs == nullptr) continue;
      for (const sized_graph& each : slot.graphs) {
        copies_in.back().emplace_back(*inputs, slot, each.requests);
      }
    }
  }

  // Waits until no stream has work left. Returns false if the deadline passed before. Throws
  // cuda_error.
  bool drain() const {
    const std::int64_t deadline_ns = now_ns() + drain_deadline_ns;
    for (const stream& each : streams) {
      while (!each.idle()) {
        if (now_ns() > deadline_ns) return false;
        sleep_until_ns(now_ns() + drain_pause_ns);
      }
    }
    return true;
  }

  const shared_context device;
  current_context current;  // on the worker's thread
  batch_times times;
  std::vector<stream> streams;                       // one for each slot
  std::vector<std::vector<input_copies>> copies_in;  // of each slot, for each graph
};

graph_executor::graph_executor(int device, std::vector<graph_slot> slots,
                               std::shared_ptr<const payloads> inputs,
                               std::shared_ptr<const void> owner, bool takes_turns)
    : device_(device),
      slots_(std::move(slots)),
      inputs_(std::move(inputs)),
      owner_(std::move(owner)),
      takes_turns_(takes_turns),
      turns_(slots_.size()) {
  require_device(device_);
  check_slots(slots_, inputs_.get());
}

graph_executor::~graph_executor() {
  graph_executor::close();
}

void graph_executor::open() {
  device_side_ = std::make_unique<device_side>(std::make_shared<const context>(device_), slots_,
                                               inputs_.get());
}

void graph_executor::close() {
  if (device_side_ == nullptr) return;
  bool idle = loaded_driver() != nullptr;  // null in a forked child
  try {
    idle = idle && device_side_->drain();
  } catch (const cuda_error&) {  // the context failed; none of its work runs any more
  }
  if (idle) {
    device_side_.reset();
    owner_.reset();
    return;
  }
  // The device may still use these objects, so they are never destroyed.
  struct kept {
    std::unique_ptr<device_side> side;
    std::vector<graph_slot> slots;
    std::shared_ptr<const payloads> inputs;
    std::shared_ptr<const void> owner;
  };
  std::make_unique<kept>(kept{std::move(device_side_), slots_, inputs_, std::move(owner_)})
      .release();
}

void graph_executor::fill(std::size_t slot, const request* requests, std::size_t size) {
  const graph_slot& in_slot = slots_[slot];
  const sized_graph& chosen = in_slot.graphs[smallest_graph_for(in_slot, size)];
  if (!in_run_) begin_run();
  turns_[slot] = turn_;
  if (takes_turns_) turn_ += size;
  if (in_slot.host_input != nullptr) {
    inputs_->fill(in_slot.host_input->data(), chosen.requests, requests, size, turns_[slot]);
  }
}

batch_state graph_executor::start(std::size_t slot, const batch_view& batch) {
  const driver& api = load_driver();
  const graph_slot& in_slot = slots_[slot];
  const std::size_t number = smallest_graph_for(in_slot, batch.size);
  const sized_graph& chosen = in_slot.graphs[number];
  padded_ += chosen.requests - batch.size;

  const stream& on_stream = device_side_->streams[slot];
  batch_times::events& events = device_side_->times.start(slot);
  events[0].record(on_stream);
  if (inputs_ != nullptr) {
    device_side_->copies_in[slot][number].enqueue(batch.requests, batch.size, turns_[slot],
                                                  on_stream.handle());
    events[1].record(on_stream);
  }
  const std::int64_t enqueue_from_ns = now_ns();
  api.cuGraphLaunch(chosen.graph, on_stream.handle());
  enqueue_ns_ += now_ns() - enqueue_from_ns;
  ++launches_;
  events[2].record(on_stream);
  if (in_slot.host_output != nullptr) {
    api.cuMemcpyDtoHAsync(in_slot.host_output->data(), in_slot.device_output, chosen.output_bytes,
                          on_stream.handle());
    events[3].record(on_stream);
  }
  device_side_->times.read();
  return batch_state::running;
}

batch_state graph_executor::poll(std::size_t slot) {
  return device_side_->times.passed(slot) ? batch_state::complete : batch_state::running;
}

device_stamps graph_executor::device_times(std::size_t slot) {
  return device_side_->times.complete(slot);
}

std::size_t graph_executor::to_host_clock(const batch_record* batches, device_stamps* stamps,
                                          std::size_t count) {
  clock_.reset();
  if (!in_run_) {  // this executor had no batch in the run
    padded_ = launches_ = 0;
    enqueue_ns_ = 0;
    return 0;
  }
  in_run_ = false;
  const std::size_t known = device_side_->times.finish(stamps, count);
  clock_ = place_on_host_clock(batches, stamps, known, device_side_->times.anchors());
  return clock_ ? known : 0;
}

void graph_executor::begin_run() {
  // A run that failed can leave work in the streams.
  if (!device_side_->drain()) {
    throw not_responding("the device did not end the work of an earlier run within 10 s");
  }
  device_side_->times.begin();
  padded_ = launches_ = 0;
  enqueue_ns_ = 0;
  turn_ = 0;
  in_run_ = true;
}

}  // namespace gpubench::cuda
