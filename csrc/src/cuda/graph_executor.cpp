#include "gpubench/cuda/graph_executor.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "cuda/batch_times.hpp"
#include "gpubench/clock.hpp"
#include "gpubench/cuda/error.hpp"
#include "gpubench/error.hpp"

namespace gpubench::cuda {
namespace {

// How long work that nobody waits for any more may take before it is given up.
constexpr std::int64_t drain_deadline_ns = 10'000'000'000;
constexpr std::int64_t drain_pause_ns = 100'000;

[[noreturn]] void refuse(std::size_t slot, const std::string& problem) {
  throw invalid_argument("slots[" + std::to_string(slot) + "] " + problem);
}

void check_ladder(std::size_t number, const graph_slot& slot, const payloads* inputs) {
  if (slot.ladder.empty()) refuse(number, "has no graph; give at least one size of batch");
  for (const rung& each : slot.ladder) {
    const std::string size = "its graph for " + std::to_string(each.requests) + " requests ";
    if (each.requests == 0) refuse(number, "has a graph for 0 requests; give at least 1");
    if (each.graph == nullptr) refuse(number, "is unusable: " + size + "is null");
    if (slot.host_input != nullptr) {
      if (inputs->arena_bytes(each.requests) != each.input_bytes) {
        refuse(number, "does not fit the payloads: " + size + "takes " +
                           std::to_string(each.input_bytes) +
                           " bytes of input, the payloads make " +
                           std::to_string(inputs->arena_bytes(each.requests)));
      }
      if (each.input_bytes > slot.host_input->bytes()) {
        refuse(number, "is too small: " + size + "takes more bytes of input than host_input has");
      }
    }
    if (slot.host_output != nullptr && each.output_bytes > slot.host_output->bytes()) {
      refuse(number, "is too small: " + size + "gives more bytes than host_output has");
    }
  }
}

// Sorts the ladders, too.
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
    check_ladder(i, slot, inputs);
    std::sort(slot.ladder.begin(), slot.ladder.end(),
              [](const rung& a, const rung& b) { return a.requests < b.requests; });
  }
}

const rung& rung_for(const graph_slot& slot, std::size_t requests) {
  const auto found =
      std::lower_bound(slot.ladder.begin(), slot.ladder.end(), requests,
                       [](const rung& each, std::size_t wanted) { return each.requests < wanted; });
  if (found == slot.ladder.end()) {
    throw invalid_argument("a batch of " + std::to_string(requests) +
                           " requests has no graph; the largest takes " +
                           std::to_string(slot.ladder.back().requests) + "; lower max_batch");
  }
  return *found;
}

}  // namespace

struct graph_executor::device_side {
  device_side(shared_context on, const std::vector<graph_slot>& slots)
      : device(std::move(on)),
        current(*device),
        times(device, slots.size(), slots[0].host_input != nullptr,
              slots[0].host_output != nullptr) {
    for (std::size_t i = 0; i < slots.size(); ++i) streams.emplace_back(device);
  }

  // Waits until no stream has work left; false when the deadline passed first. Throws cuda_error.
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
  std::vector<stream> streams;  // one a slot
};

graph_executor::graph_executor(int device, std::vector<graph_slot> slots,
                               std::shared_ptr<const payloads> inputs,
                               std::shared_ptr<const void> owner)
    : device_(device),
      slots_(std::move(slots)),
      inputs_(std::move(inputs)),
      owner_(std::move(owner)) {
  require_device(device_);
  check_slots(slots_, inputs_.get());
}

graph_executor::~graph_executor() {
  graph_executor::close();
}

void graph_executor::open() {
  device_side_ = std::make_unique<device_side>(std::make_shared<const context>(device_), slots_);

  // Places of a batch that nobody asked for hold real inputs from the first batch on.
  for (graph_slot& slot : slots_) {
    if (slot.host_input == nullptr) continue;
    const std::size_t most = slot.ladder.back().requests;
    std::vector<request> first(most);
    for (std::size_t i = 0; i < most; ++i) first[i].id = static_cast<std::int64_t>(i);
    inputs_->fill(slot.host_input->data(), most, first.data(), most);
  }
}

void graph_executor::close() {
  if (device_side_ == nullptr) return;
  bool idle = loaded_driver() != nullptr;  // not in a forked child
  try {
    idle = idle && device_side_->drain();
  } catch (const cuda_error&) {  // the context is lost; nothing on it runs any more
  }
  if (idle) {
    device_side_.reset();
    owner_.reset();
    return;
  }
  // What the device may still use stays for the life of the process.
  struct kept {
    std::unique_ptr<device_side> side;
    std::vector<graph_slot> slots;
    std::shared_ptr<const void> owner;
  };
  std::make_unique<kept>(kept{std::move(device_side_), slots_, std::move(owner_)}).release();
}

batch_state graph_executor::start(std::size_t slot, const batch_view& batch) {
  const driver& api = load_driver();
  const graph_slot& place = slots_[slot];
  const rung& fits = rung_for(place, batch.size);
  if (!in_run_) begin_run();
  padded_ += fits.requests - batch.size;

  const stream& on = device_side_->streams[slot];
  if (place.host_input != nullptr) {
    inputs_->fill(place.host_input->data(), fits.requests, batch.requests, batch.size);
  }
  batch_times::events& events = device_side_->times.start(slot);
  events[0].record(on);
  if (place.host_input != nullptr) {
    api.cuMemcpyHtoDAsync(place.device_input, place.host_input->data(), fits.input_bytes,
                          on.handle());
    events[1].record(on);
  }
  const std::int64_t enqueue_from_ns = now_ns();
  api.cuGraphLaunch(fits.graph, on.handle());
  enqueue_ns_ += now_ns() - enqueue_from_ns;
  ++launches_;
  events[2].record(on);
  if (place.host_output != nullptr) {
    api.cuMemcpyDtoHAsync(place.host_output->data(), place.device_output, fits.output_bytes,
                          on.handle());
    events[3].record(on);
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
  if (!in_run_) {  // the run brought nothing here
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
  // A run that failed may have left work behind.
  if (!device_side_->drain()) {
    throw not_responding("the device did not end the work of an earlier run within 10 s");
  }
  device_side_->times.begin();
  padded_ = launches_ = 0;
  enqueue_ns_ = 0;
  in_run_ = true;
}

}  // namespace gpubench::cuda
