#include "gpubench/cuda/synthetic_executor.hpp"

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>

#include "cuda/kernel_graph.hpp"
#include "cuda/spin_kernel.hpp"
#include "gpubench/error.hpp"
#include "service_times.hpp"

namespace gpubench::cuda {
namespace {

// Distinct inputs: as many as fit into input_pool_bytes, but not fewer or more than these limits.
constexpr std::size_t input_pool_bytes = std::size_t{64} << 20;
constexpr std::size_t fewest_inputs = 4;
constexpr std::size_t most_inputs = 64;

// Random bytes, which are the same in every process.
std::shared_ptr<const payloads> make_payloads(int device, std::size_t request_bytes, bool pinned) {
  const std::size_t count =
      std::clamp(input_pool_bytes / request_bytes, fewest_inputs, most_inputs);
  std::vector<unsigned char> data(count * request_bytes);
  std::mt19937_64 random(1);
  for (std::size_t at = 0; at < data.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t bits = random();
    std::memcpy(data.data() + at, &bits, std::min(sizeof bits, data.size() - at));
  }
  const std::vector<std::size_t> tensor_bytes{request_bytes};
  return pinned ? std::make_shared<payloads>(tensor_bytes, data, device)
                : std::make_shared<payloads>(tensor_bytes, data);
}

void check(const synthetic_executor::options& wanted) {
  if (wanted.depth == 0) throw invalid_argument("depth is 0; give at least 1 batch in flight");
  if (wanted.max_batch == 0)
    throw invalid_argument("max_batch is 0; a batch has at least 1 request");
}

}  // namespace

struct synthetic_executor::model {
  // The graph of one slot.
  struct slot_graph {
    slot_graph(const shared_context& in_context, const spin_kernel& kernel, std::uint64_t duration)
        : times(in_context->device(), sizeof(spin_times)),
          duration_ns(duration),
          graph(make(in_context, kernel)) {}

    void set_duration(std::uint64_t wanted_ns) {
      if (wanted_ns == duration_ns) return;
      duration_ns = wanted_ns;
      device_address to = times.address();
      void* arguments[] = {&duration_ns, &to};
      graph.set_arguments(arguments);
    }

    device_buffer times;
    std::uint64_t duration_ns;
    kernel_graph graph;

   private:
    kernel_graph make(const shared_context& in_context, const spin_kernel& kernel) {
      device_address to = times.address();
      void* arguments[] = {&duration_ns, &to};
      return kernel_graph(in_context, kernel.spin(), arguments);
    }
  };

  model(int device, const std::vector<std::int64_t>& service_ns, const options& wanted)
      : in_context(std::make_shared<const context>(device)), kernel(in_context) {
    check_service_times(service_ns);
    check(wanted);
    if (wanted.request_bytes > 0) {
      inputs = make_payloads(device, wanted.request_bytes, wanted.pinned_inputs);
    }
    for (std::size_t i = 0; i < wanted.depth; ++i) {
      slot_graphs.emplace_back(in_context, kernel, static_cast<std::uint64_t>(service_ns.front()));
      slots.push_back(make_slot(wanted, slot_graphs.back().graph.handle()));
    }
  }

  graph_slot make_slot(const options& wanted, CUgraphExec_st* graph) {
    const std::size_t input_bytes = wanted.request_bytes * wanted.max_batch;
    const std::size_t output_bytes = wanted.reply_bytes * wanted.max_batch;
    graph_slot slot;
    if (input_bytes > 0) {
      if (inputs->gathers(wanted.max_batch)) {
        slot.host_input = std::make_shared<pinned_buffer>(in_context->device(), input_bytes);
      }
      slot.device_input = memory.emplace_back(in_context->device(), input_bytes).address();
    }
    if (output_bytes > 0) {
      slot.host_output = std::make_shared<pinned_buffer>(in_context->device(), output_bytes);
      slot.device_output = memory.emplace_back(in_context->device(), output_bytes).address();
    }
    for (std::size_t size = 1; size <= wanted.max_batch; ++size) {
      slot.graphs.push_back({size, graph, wanted.request_bytes * size, wanted.reply_bytes * size});
    }
    return slot;
  }

  const shared_context in_context;
  const spin_kernel kernel;
  std::vector<slot_graph> slot_graphs;  // one for each slot
  std::vector<device_buffer> memory;
  std::vector<graph_slot> slots;
  std::shared_ptr<const payloads> inputs;  // null if requests have no input
};

synthetic_executor::synthetic_executor(int device, const std::vector<std::int64_t>& service_ns,
                                       const options& wanted)
    : synthetic_executor(device, service_ns, std::make_shared<model>(device, service_ns, wanted)) {}

synthetic_executor::synthetic_executor(int device, std::vector<std::int64_t> service_ns,
                                       std::shared_ptr<model> made)
    : graph_executor(device, made->slots, made->inputs, made),
      service_ns_(std::move(service_ns)),
      model_(std::move(made)) {}

batch_state synthetic_executor::start(std::size_t slot, const batch_view& batch) {
  const std::int64_t service_ns = service_ns_[next_];
  if (++next_ == service_ns_.size()) next_ = 0;
  model_->slot_graphs[slot].set_duration(static_cast<std::uint64_t>(service_ns));
  return graph_executor::start(slot, batch);
}

}  // namespace gpubench::cuda
