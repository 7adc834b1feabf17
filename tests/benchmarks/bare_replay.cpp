// What a GPU does without a harness: the baselines of gpu_replay.py.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "cuda/driver_api.hpp"
#include "cuda/event.hpp"
#include "cuda/kernel_graph.hpp"
#include "cuda/spin_kernel.hpp"
#include "cuda/stream.hpp"
#include "gpubench/clock.hpp"
#include "gpubench/cuda/buffers.hpp"

using namespace gpubench;
using namespace gpubench::cuda;

namespace {

// As many batches in flight, with the same copies and events as a slot of the graph executor. The
// inputs are copied in `pieces` of the same size.
struct slot {
  slot(const shared_context& on, std::size_t input_bytes, std::size_t output_bytes,
       std::size_t pieces)
      : queue(on), has_input(input_bytes > 0), has_output(output_bytes > 0) {
    for (int i = 0; i < 4; ++i) events.emplace_back(on);
    const std::size_t in = has_input ? input_bytes : 1;
    const std::size_t out = has_output ? output_bytes : 1;
    host_input = std::make_unique<pinned_buffer>(on->device(), in);
    device_input = std::make_unique<device_buffer>(on->device(), in);
    host_output = std::make_unique<pinned_buffer>(on->device(), out);
    device_output = std::make_unique<device_buffer>(on->device(), out);
    for (std::size_t i = 0; i < pieces; ++i) {
      to.push_back(device_input->address() + i * (in / pieces));
      from.push_back(reinterpret_cast<std::uintptr_t>(host_input->data()) + i * (in / pieces));
      bytes.push_back(in / pieces);
    }
  }

  void copy_inputs() {
    const driver& api = load_driver();
    if (to.size() > 1 && api.cuMemcpyBatchAsync.available()) {
      copy_attributes attributes{};
      attributes.source_access_order = source_access_in_stream_order;
      std::size_t first = 0, failed = 0;
      api.cuMemcpyBatchAsync(to.data(), from.data(), bytes.data(), to.size(), &attributes, &first,
                             1, &failed, queue.handle());
      return;
    }
    for (std::size_t i = 0; i < to.size(); ++i) {
      api.cuMemcpyHtoDAsync(to[i], reinterpret_cast<const void*>(from[i]), bytes[i],
                            queue.handle());
    }
  }

  event& before_compute() { return events[has_input ? 1 : 0]; }
  event& last() { return events[has_output ? 3 : 2]; }

  void start(CUgraphExec_st* graph) {
    const driver& api = load_driver();
    events[0].record(queue);
    if (has_input) {
      copy_inputs();
      events[1].record(queue);
    }
    api.cuGraphLaunch(graph, queue.handle());
    events[2].record(queue);
    if (has_output) {
      api.cuMemcpyDtoHAsync(host_output->data(), device_output->address(), host_output->bytes(),
                            queue.handle());
      events[3].record(queue);
    }
  }

  // What the harness reads of each batch, but for the time since the batch before.
  std::int64_t read_times() {
    std::int64_t sum = elapsed_ns(before_compute(), events[2]);
    if (has_input) sum += elapsed_ns(events[0], events[1]);
    if (has_output) sum += elapsed_ns(events[2], events[3]);
    return sum;
  }

  stream queue;
  bool has_input, has_output;
  std::vector<event> events;
  std::unique_ptr<pinned_buffer> host_input, host_output;
  std::unique_ptr<device_buffer> device_input, device_output;
  std::vector<device_address> to, from;
  std::vector<std::size_t> bytes;
};

double per_second(std::size_t count, std::int64_t start_ns) {
  return static_cast<double>(count) * 1e9 / static_cast<double>(now_ns() - start_ns);
}

// `use(context, graphs)` with the given graphs, or with spin kernels where `given` is null.
template <class Use>
double with_graphs(int device, const std::uintptr_t* given, std::size_t in_flight,
                   std::int64_t service_ns, const Use& use) {
  const auto on = std::make_shared<const context>(device);
  const current_context current(*on);
  const spin_kernel kernel(on);
  const device_buffer shown(device, in_flight * sizeof(spin_times));
  std::vector<kernel_graph> own;
  std::vector<CUgraphExec_st*> graphs;
  for (std::size_t i = 0; i < in_flight; ++i) {
    if (given != nullptr) {
      graphs.push_back(reinterpret_cast<CUgraphExec_st*>(given[i]));
      continue;
    }
    auto duration_ns = static_cast<std::uint64_t>(service_ns);
    device_address place = shown.address() + i * sizeof(spin_times);
    void* arguments[] = {&duration_ns, &place};
    own.emplace_back(on, kernel.spin(), arguments);
    graphs.push_back(own.back().handle());
  }
  return use(on, graphs);
}

}  // namespace

// Batches per second of a loop that makes the harness's driver calls for each (copies, a graph
// launch, events, their times) with `in_flight` batches in flight, and does nothing else. The
// inputs of a batch are copied in `pieces`. -1: failed.
extern "C" double bare_replay(int device, const std::uintptr_t* graphs, std::int64_t service_ns,
                              std::size_t in_flight, std::size_t input_bytes,
                              std::size_t output_bytes, std::size_t pieces,
                              std::size_t batches) try {
  return with_graphs(device, graphs, in_flight, service_ns, [&](const auto& on, const auto& all) {
    std::vector<slot> slots;
    for (std::size_t i = 0; i < in_flight; ++i) {
      slots.emplace_back(on, input_bytes, output_bytes, pieces);
    }
    std::int64_t device_ns = 0;
    const std::int64_t start_ns = now_ns();
    for (std::size_t i = 0; i < in_flight; ++i) slots[i].start(all[i]);
    for (std::size_t done = 0, i = 0; done < batches; ++done, i = (i + 1) % in_flight) {
      while (!slots[i].last().passed()) relax();
      device_ns += slots[i].read_times();
      if (done + in_flight < batches) slots[i].start(all[i]);
    }
    volatile std::int64_t keep = device_ns;
    static_cast<void>(keep);
    return per_second(batches, start_ns);
  });
} catch (...) {
  return -1;
}

// Launches per second of bare graph launches, which keep the device's queues full: no copies, one
// event at the end of each stream.
extern "C" double bare_launches(int device, const std::uintptr_t* graphs, std::int64_t service_ns,
                                std::size_t in_flight, std::size_t batches) try {
  return with_graphs(device, graphs, in_flight, service_ns, [&](const auto& on, const auto& all) {
    std::vector<stream> streams;
    for (std::size_t i = 0; i < in_flight; ++i) streams.emplace_back(on);
    const std::int64_t start_ns = now_ns();
    for (std::size_t i = 0; i < batches; ++i) {
      load_driver().cuGraphLaunch(all[i % in_flight], streams[i % in_flight].handle());
    }
    for (const stream& each : streams) {
      while (!each.idle()) relax();
    }
    return per_second(batches, start_ns);
  });
} catch (...) {
  return -1;
}

// Bytes per second of one plain copy after another from pinned memory to the device. -1: failed.
extern "C" double bare_copy(int device, std::size_t bytes, std::size_t copies) try {
  const auto on = std::make_shared<const context>(device);
  const current_context current(*on);
  const stream queue(on);
  const pinned_buffer from(on->device(), bytes);
  const device_buffer to(on->device(), bytes);
  event before(on), after(on);
  std::int64_t total_ns = 0;
  for (std::size_t i = 0; i < copies; ++i) {
    before.record(queue);
    load_driver().cuMemcpyHtoDAsync(to.address(), from.data(), bytes, queue.handle());
    after.record(queue);
    while (!after.passed()) relax();
    total_ns += elapsed_ns(before, after);
  }
  return static_cast<double>(bytes * copies) * 1e9 / static_cast<double>(total_ns);
} catch (...) {
  return -1;
}

// Bytes per second with which one thread copies `bytes` from ordinary memory into pinned memory,
// with one memcpy: the median of `copies`. -1: failed.
extern "C" double bare_fill(int device, std::size_t bytes, std::size_t copies) try {
  const pinned_buffer to(device, bytes);
  const std::vector<unsigned char> from(bytes, 1);
  std::vector<std::int64_t> taken_ns;
  for (std::size_t i = 0; i < copies; ++i) {
    const std::int64_t start_ns = now_ns();
    std::memcpy(to.data(), from.data(), bytes);
    taken_ns.push_back(now_ns() - start_ns);
  }
  const auto middle = taken_ns.begin() + static_cast<std::ptrdiff_t>(copies / 2);
  std::nth_element(taken_ns.begin(), middle, taken_ns.end());
  return static_cast<double>(bytes) * 1e9 / static_cast<double>(*middle);
} catch (...) {
  return -1;
}
