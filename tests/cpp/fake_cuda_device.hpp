// The simulated devices behind the fake driver: time, streams, memory, faults.
//
// The device's clock is the host's clock with an offset and a drift, so runs take real time. When
// an operation is enqueued, its start and its end are computed. The next call of the driver
// executes all operations that have ended by then. So no thread is needed, and durations on the
// device are exact.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cuda/driver.hpp"

namespace fake {

using gpubench::cuda::device_address;

enum code : int {
  ok = 0,
  invalid_value = 1,
  out_of_memory = 2,
  not_initialized = 3,
  no_device = 100,
  invalid_device = 101,
  invalid_context = 201,
  invalid_ptx = 218,
  invalid_handle = 400,
  not_found = 500,
  not_ready = 600,
  illegal_address = 700,
  launch_out_of_resources = 701,
  system_driver_mismatch = 803,
};

struct error_text {
  int error;
  const char* name;
  const char* text;
};

// The texts of the real driver; null for errors that the fake does not use.
inline const error_text* text_of(int error) {
  static constexpr error_text texts[] = {
      {invalid_value, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
      {out_of_memory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
      {invalid_context, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
      {invalid_ptx, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
      {invalid_handle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
      {not_found, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
      {not_ready, "CUDA_ERROR_NOT_READY", "device not ready"},
      {illegal_address, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
      {launch_out_of_resources, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
       "too many resources requested for launch"},
      {system_driver_mismatch, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
       "system has unsupported display driver / cuda driver combination"}};
  for (const error_text& each : texts) {
    if (each.error == error) return &each;
  }
  return nullptr;
}

constexpr std::int64_t never_ns = INT64_MAX / 2;
constexpr std::int64_t device_clock_offset_ns = 5'000'000'000'000;

// Device memory is host memory at other addresses, which the host cannot read.
constexpr device_address device_bit = device_address{1} << 62;

inline std::int64_t host_now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

using settings = std::map<std::string, long long>;

inline const settings& defaults() {
  static const auto& values = *new settings{{"devices", 1},
                                            {"driver_version", 12000},
                                            {"init_error", 0},
                                            {"drift_ppm", 40},
                                            {"event_tick_ns", 500},
                                            {"event_timing", 1},
                                            {"submit_ns", 10000},
                                            {"copy_ns", 2000},
                                            {"copy_bytes_per_us", 12000},
                                            {"kernel_ns", 2000},
                                            {"out_of_memory_at", 0},
                                            {"launch_fails_at", 0},
                                            {"launch_kills_at", 0},
                                            {"launch_hangs_at", 0},
                                            {"copy_fails_at", 0},
                                            {"slow_copy_at", 0},
                                            {"slow_copy_ns", 100'000'000}};
  return values;
}

inline settings from_environment() {
  settings values = defaults();
  const char* const given = std::getenv("GPUBENCH_FAKE_CUDA");
  std::string rest = given != nullptr ? given : "";
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const std::string part = rest.substr(0, comma);
    rest.erase(0, comma + 1);
    const std::size_t equals = part.find('=');
    const auto found = values.find(part.substr(0, equals));
    if (equals == std::string::npos || found == values.end()) {
      std::fprintf(stderr, "GPUBENCH_FAKE_CUDA: unknown setting %s\n", part.c_str());
      std::abort();
    }
    found->second = std::atoll(part.c_str() + equals + 1);
  }
  return values;
}

// Bytes that an operation reads or writes, and the graph that it executes.
using uses = std::vector<std::pair<std::uintptr_t, std::size_t>>;

// The effect of an operation when it ends. The argument is the time of the end.
using effect = std::function<void(std::int64_t)>;

struct operation {
  std::int64_t end_ns;
  effect take_effect;
  uses in_use;
};

}  // namespace fake

// The handles of the driver point to these.

struct CUctx_st {
  int device = 0;
  int retained = 0;
  int lost = fake::ok;  // the sticky error
};

struct CUstream_st {
  CUctx_st* context = nullptr;
  std::int64_t tail_ns = 0;  // the end of all enqueued work
  std::deque<fake::operation> pending = {};
};

struct CUevent_st {
  CUctx_st* context = nullptr;
  bool recorded = false;
  std::int64_t at_ns = 0;
};

struct CUmod_st {
  std::string text;
};

struct CUfunc_st {
  std::string name;
};

struct CUgraphNode_st {
  std::string kernel;
  std::uint64_t duration_ns = 0;
  fake::device_address out = 0;
};

struct CUgraph_st {
  std::vector<std::unique_ptr<CUgraphNode_st>> nodes;
};

struct CUgraphExec_st {
  std::map<CUgraphNode_st*, CUgraphNode_st> nodes;
  std::int64_t copy_duration_ns = 0;
  fake::device_address to = 0;
  fake::device_address from = 0;
  std::size_t bytes = 0;
};

namespace fake {

// The objects of one kind, by their handles.
template <class Object>
class registry {
 public:
  Object* add(Object made) {
    auto owned = std::make_unique<Object>(std::move(made));
    Object* const handle = owned.get();
    objects_[handle] = std::move(owned);
    return handle;
  }
  bool has(const Object* handle) const { return objects_.count(const_cast<Object*>(handle)) > 0; }
  bool remove(Object* handle) { return objects_.erase(handle) > 0; }
  std::size_t size() const { return objects_.size(); }
  auto begin() { return objects_.begin(); }
  auto end() { return objects_.end(); }

 private:
  std::map<Object*, std::unique_ptr<Object>> objects_;
};

// Allocated memory, by its address on the host.
class memory {
 public:
  void* add(std::size_t bytes) {
    auto data = std::make_unique<unsigned char[]>(bytes);
    void* const address = data.get();
    blocks_[reinterpret_cast<std::uintptr_t>(address)] = {bytes, std::move(data)};
    return address;
  }
  bool remove(std::uintptr_t address) { return blocks_.erase(address) > 0; }
  bool holds(std::uintptr_t address, std::size_t bytes) const {
    auto after = blocks_.upper_bound(address);
    if (after == blocks_.begin()) return false;
    const auto& [begin, held] = *std::prev(after);
    return address + bytes <= begin + held.bytes;
  }
  std::size_t bytes_at(std::uintptr_t address) const {
    const auto found = blocks_.find(address);
    return found == blocks_.end() ? 0 : found->second.bytes;
  }
  std::size_t size() const { return blocks_.size(); }

 private:
  struct block {
    std::size_t bytes;
    std::unique_ptr<unsigned char[]> data;
  };
  std::map<std::uintptr_t, block> blocks_;
};

inline std::uintptr_t host_side(device_address address) {
  return static_cast<std::uintptr_t>(address & ~device_bit);
}

struct simulated_machine {
  std::mutex mutex;
  std::int64_t now_ns = 0;
  bool initialized = false;
  settings values = from_environment();
  std::map<std::string, long long> counts;
  std::map<int, CUctx_st> contexts;  // of each device
  registry<CUstream_st> streams;
  registry<CUevent_st> events;
  registry<CUmod_st> modules;
  registry<CUfunc_st> functions;  // belong to their modules; not counted
  registry<CUgraph_st> graphs;
  registry<CUgraphExec_st> graph_execs;
  memory pinned;
  memory device;

  std::int64_t setting(const char* name) const { return values.at(name); }

  // Whether this call is the one that has to fail.
  bool fails_now(const char* fault) {
    long long& calls_left = values.at(fault);
    return calls_left > 0 && --calls_left == 0;
  }

  // The time of the device's clock at a time of the host's clock.
  std::int64_t device_ns(std::int64_t at_ns) const {
    const long double gained =
        static_cast<long double>(at_ns) * static_cast<long double>(setting("drift_ppm")) * 1e-6L;
    return at_ns + device_clock_offset_ns + static_cast<std::int64_t>(gained);
  }

  std::int64_t event_ns(const CUevent_st& event) const {
    const std::int64_t tick_ns = std::max(setting("event_tick_ns"), std::int64_t{1});
    return device_ns(event.at_ns) / tick_ns * tick_ns;
  }

  // Executes the operations that have ended by now, in the order of their ends. The simulated time
  // does not change until the next call, so that events are seen in their order.
  void advance() {
    now_ns = host_now_ns();
    for (;;) {
      CUstream_st* first = nullptr;
      for (auto& [handle, each] : streams) {
        if (each->pending.empty() || each->pending.front().end_ns > now_ns) continue;
        if (first == nullptr || each->pending.front().end_ns < first->pending.front().end_ns) {
          first = handle;
        }
      }
      if (first == nullptr) return;
      const operation done = std::move(first->pending.front());
      first->pending.pop_front();
      if (first->context->lost == ok) done.take_effect(done.end_ns);
    }
  }

  // When the stream can start work that is enqueued now.
  std::int64_t begin_ns(const CUstream_st& stream) const {
    return stream.tail_ns > now_ns ? stream.tail_ns : now_ns + setting("submit_ns");
  }

  void enqueue(CUstream_st& stream, std::int64_t duration_ns, effect what, uses in_use) {
    stream.tail_ns = std::min(begin_ns(stream) + duration_ns, never_ns);
    stream.pending.push_back({stream.tail_ns, std::move(what), std::move(in_use)});
  }

  // Counts memory and graphs that are freed while enqueued work uses them.
  void check_unused(std::uintptr_t address, std::size_t bytes) {
    for (auto& [handle, stream] : streams) {
      for (operation& each : stream->pending) {
        for (const auto& [begin, length] : each.in_use) {
          if (begin < address + bytes && address < begin + length) {
            ++counts["freed_in_use"];
            each.take_effect = [](std::int64_t) {};
          }
        }
      }
    }
  }

  bool executes(const CUgraphExec_st* graph) {
    const auto address = reinterpret_cast<std::uintptr_t>(graph);
    for (auto& [handle, stream] : streams) {
      for (const operation& each : stream->pending) {
        for (const auto& used : each.in_use) {
          if (used.first == address) return true;
        }
      }
    }
    return false;
  }
};

inline simulated_machine& machine() {
  static auto& only = *new simulated_machine;  // abandoned threads may still use it
  return only;
}

inline std::vector<CUctx_st*>& current() {
  thread_local std::vector<CUctx_st*> stack;
  return stack;
}

// Every function of the driver makes one: it locks the mutex and updates the simulated time.
class call {
 public:
  call() : lock_(machine().mutex) { machine().advance(); }

 private:
  std::lock_guard<std::mutex> lock_;
};

// Whether this thread has a context that works.
inline int context_state() {
  if (!machine().initialized) return not_initialized;
  if (current().empty() || current().back()->retained == 0) return invalid_context;
  return current().back()->lost;
}

inline bool device_exists(int device) {
  return device >= 0 && device < machine().setting("devices");
}

inline void run_kernel(const CUgraphNode_st& kernel, CUctx_st& context, std::int64_t end_ns) {
  if (kernel.kernel != "gpubench_spin" || kernel.out == 0) return;
  simulated_machine& now = machine();
  const std::int64_t begin_ns = end_ns - static_cast<std::int64_t>(kernel.duration_ns);
  const std::uint64_t shown[2] = {static_cast<std::uint64_t>(now.device_ns(begin_ns)),
                                  static_cast<std::uint64_t>(now.device_ns(end_ns))};
  if (!now.device.holds(host_side(kernel.out), sizeof shown)) {
    context.lost = illegal_address;
    return;
  }
  std::memcpy(reinterpret_cast<void*>(host_side(kernel.out)), shown, sizeof shown);
}

inline std::int64_t kernel_ns(const CUgraphNode_st& kernel) {
  if (kernel.kernel == "gpubench_spin") return static_cast<std::int64_t>(kernel.duration_ns);
  if (kernel.kernel == "gpubench_empty") return 0;
  return machine().setting("kernel_ns");
}

inline CUgraphNode_st launched(const CUfunc_st& kernel, void** arguments) {
  CUgraphNode_st node{kernel.name};
  if (kernel.name == "gpubench_spin") {
    std::memcpy(&node.duration_ns, arguments[0], sizeof node.duration_ns);
    std::memcpy(&node.out, arguments[1], sizeof node.out);
  }
  return node;
}

// A launch, with the faults that were set.
inline int launch(CUstream_st& stream, std::int64_t duration_ns, effect what, uses in_use) {
  simulated_machine& now = machine();
  ++now.counts["launches"];
  if (now.fails_now("launch_fails_at")) return launch_out_of_resources;
  if (now.fails_now("launch_hangs_at")) duration_ns = never_ns;
  if (now.fails_now("launch_kills_at")) {
    what = [context = stream.context](std::int64_t) { context->lost = illegal_address; };
  }
  now.enqueue(stream, duration_ns, std::move(what), std::move(in_use));
  return ok;
}

// A copy between the host and the device.
inline int copy(CUstream_st* stream, std::uintptr_t to, std::uintptr_t from, std::size_t bytes,
                std::uintptr_t on_host, std::uintptr_t on_device) {
  simulated_machine& now = machine();
  if (const int state = context_state(); state != ok) return state;
  if (!now.streams.has(stream)) return invalid_handle;
  if (!now.device.holds(on_device, bytes)) return invalid_value;
  if (!now.pinned.holds(on_host, bytes)) ++now.counts["pageable_copies"];
  ++now.counts["copies"];
  if (now.fails_now("copy_fails_at")) return invalid_value;
  const auto kilo = static_cast<std::int64_t>(bytes) * 1000;
  std::int64_t duration_ns = now.setting("copy_ns") + kilo / now.setting("copy_bytes_per_us");
  if (now.fails_now("slow_copy_at")) duration_ns += now.setting("slow_copy_ns");
  const auto move_bytes = [to, from, bytes](std::int64_t) {
    std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  };
  now.enqueue(*stream, duration_ns, move_bytes, {{on_host, bytes}, {on_device, bytes}});
  return ok;
}

}  // namespace fake
