// A driver without a GPU: the entry points that the core uses, on simulated devices.
//
// The device's clock follows the host's, with an offset and a drift, so that runs go in real time.
// When an operation is handed over, the moments of its beginning and its end are computed; whoever
// calls the driver next carries out what has come to its end. So no thread is needed, and durations
// on the device are exact.

#include "fake_cuda_driver.hpp"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "cuda/driver_api.hpp"

using gpubench::cuda::device_address;
using gpubench::cuda::driver;
using gpubench::cuda::function;

namespace {

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
};

constexpr std::int64_t never_ns = INT64_MAX / 2;
constexpr std::int64_t device_clock_offset_ns = 5'000'000'000'000;

// Device memory is memory of the host under addresses that the host cannot read.
constexpr device_address device_bit = device_address{1} << 62;

std::int64_t host_now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

using settings = std::map<std::string, long long>;

const settings& defaults() {
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
                                            {"slow_copy_at", 0},
                                            {"slow_copy_ns", 100'000'000}};
  return values;
}

settings from_environment() {
  settings values = defaults();
  const char* const given = std::getenv("GPUBENCH_FAKE_CUDA");
  std::istringstream parts(given != nullptr ? given : "");
  for (std::string part; std::getline(parts, part, ',');) {
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

// What an operation does when it ends, given that moment.
using effect = std::function<void(std::int64_t)>;

struct operation {
  std::int64_t end_ns;
  effect take_effect;
  uses in_use;
};

}  // namespace

struct CUctx_st {
  int device = 0;
  int retained = 0;
  int lost = ok;  // the sticky error
};

struct CUstream_st {
  CUctx_st* context = nullptr;
  std::int64_t tail_ns = 0;  // all it was given is done
  std::deque<operation> pending = {};
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
  device_address out = 0;
};

struct CUgraph_st {
  std::vector<std::unique_ptr<CUgraphNode_st>> nodes;
};

struct CUgraphExec_st {
  std::map<CUgraphNode_st*, CUgraphNode_st> nodes;
  std::int64_t copy_duration_ns = 0;
  device_address to = 0;
  device_address from = 0;
  std::size_t bytes = 0;
};

namespace {

// What exists, by its handle.
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

// Memory, by its address on the host.
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

std::uintptr_t host_side(device_address address) {
  return static_cast<std::uintptr_t>(address & ~device_bit);
}

struct world {
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

  // Whether this call is the one that was chosen to go wrong.
  bool strikes(const char* fault) {
    long long& calls_left = values.at(fault);
    return calls_left > 0 && --calls_left == 0;
  }

  // What the device's clock shows at a moment of the host's.
  std::int64_t device_ns(std::int64_t at_ns) const {
    const long double gained =
        static_cast<long double>(at_ns) * static_cast<long double>(setting("drift_ppm")) * 1e-6L;
    return at_ns + device_clock_offset_ns + static_cast<std::int64_t>(gained);
  }

  std::int64_t event_ns(const CUevent_st& event) const {
    const std::int64_t tick_ns = std::max(setting("event_tick_ns"), std::int64_t{1});
    return device_ns(event.at_ns) / tick_ns * tick_ns;
  }

  // Carries out what has come to its end by now, in that order. The time stands still until the
  // next call, so that nobody sees an event before what came before it.
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

  // When the stream can begin with what it is given now.
  std::int64_t begin_ns(const CUstream_st& stream) const {
    return stream.tail_ns > now_ns ? stream.tail_ns : now_ns + setting("submit_ns");
  }

  void hand_over(CUstream_st& stream, std::int64_t duration_ns, effect what, uses in_use) {
    stream.tail_ns = std::min(begin_ns(stream) + duration_ns, never_ns);
    stream.pending.push_back({stream.tail_ns, std::move(what), std::move(in_use)});
  }

  // Counts what is given back while work is left that uses it.
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

world& the() {
  static auto& only = *new world;  // threads that were abandoned may still use it
  return only;
}

std::vector<CUctx_st*>& current() {
  thread_local std::vector<CUctx_st*> stack;
  return stack;
}

// Around every call: its lock, and time that has passed.
class call {
 public:
  call() : lock_(the().mutex) { the().advance(); }

 private:
  std::lock_guard<std::mutex> lock_;
};

// Whether work can be done on this thread's context.
int context_state() {
  if (!the().initialized) return not_initialized;
  if (current().empty() || current().back()->retained == 0) return invalid_context;
  return current().back()->lost;
}

bool device_exists(int device) {
  return device >= 0 && device < the().setting("devices");
}

void run_kernel(const CUgraphNode_st& kernel, CUctx_st& context, std::int64_t end_ns) {
  if (kernel.kernel != "gpubench_spin" || kernel.out == 0) return;
  world& now = the();
  const std::int64_t begin_ns = end_ns - static_cast<std::int64_t>(kernel.duration_ns);
  const std::uint64_t shown[2] = {static_cast<std::uint64_t>(now.device_ns(begin_ns)),
                                  static_cast<std::uint64_t>(now.device_ns(end_ns))};
  if (!now.device.holds(host_side(kernel.out), sizeof shown)) {
    context.lost = illegal_address;
    return;
  }
  std::memcpy(reinterpret_cast<void*>(host_side(kernel.out)), shown, sizeof shown);
}

std::int64_t kernel_ns(const CUgraphNode_st& kernel) {
  if (kernel.kernel == "gpubench_spin") return static_cast<std::int64_t>(kernel.duration_ns);
  if (kernel.kernel == "gpubench_empty") return 0;
  return the().setting("kernel_ns");
}

CUgraphNode_st launched(const CUfunc_st& kernel, void** arguments) {
  CUgraphNode_st node{kernel.name};
  if (kernel.name == "gpubench_spin") {
    std::memcpy(&node.duration_ns, arguments[0], sizeof node.duration_ns);
    std::memcpy(&node.out, arguments[1], sizeof node.out);
  }
  return node;
}

// A launch with its faults.
int launch(CUstream_st& stream, std::int64_t duration_ns, effect what, uses in_use) {
  world& now = the();
  ++now.counts["launches"];
  if (now.strikes("launch_fails_at")) return launch_out_of_resources;
  if (now.strikes("launch_hangs_at")) duration_ns = never_ns;
  if (now.strikes("launch_kills_at")) {
    what = [context = stream.context](std::int64_t) { context->lost = illegal_address; };
  }
  now.hand_over(stream, duration_ns, std::move(what), std::move(in_use));
  return ok;
}

// A copy between the host and the device.
int copy(CUstream_st* stream, std::uintptr_t to, std::uintptr_t from, std::size_t bytes,
         std::uintptr_t on_host, std::uintptr_t on_device) {
  world& now = the();
  if (const int state = context_state(); state != ok) return state;
  if (!now.streams.has(stream)) return invalid_handle;
  if (!now.device.holds(on_device, bytes)) return invalid_value;
  if (!now.pinned.holds(on_host, bytes)) ++now.counts["pageable_copies"];
  ++now.counts["copies"];
  const auto kilo = static_cast<std::int64_t>(bytes) * 1000;
  std::int64_t duration_ns = now.setting("copy_ns") + kilo / now.setting("copy_bytes_per_us");
  if (now.strikes("slow_copy_at")) duration_ns += now.setting("slow_copy_ns");
  const auto move_bytes = [to, from, bytes](std::int64_t) {
    std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  };
  now.hand_over(*stream, duration_ns, move_bytes, {{on_host, bytes}, {on_device, bytes}});
  return ok;
}

}  // namespace

extern "C" {

int cuInit(unsigned) {
  const call guard;
  world& now = the();
  if (now.setting("init_error") != 0) return static_cast<int>(now.setting("init_error"));
  if (now.setting("devices") == 0) return no_device;
  now.initialized = true;
  return ok;
}

int cuDriverGetVersion(int* version) {
  const call guard;
  *version = static_cast<int>(the().setting("driver_version"));
  return ok;
}

int cuGetErrorName(int error, const char** text) {
  switch (error) {
    case invalid_value:
      *text = "CUDA_ERROR_INVALID_VALUE";
      return ok;
    case out_of_memory:
      *text = "CUDA_ERROR_OUT_OF_MEMORY";
      return ok;
    case invalid_context:
      *text = "CUDA_ERROR_INVALID_CONTEXT";
      return ok;
    case invalid_ptx:
      *text = "CUDA_ERROR_INVALID_PTX";
      return ok;
    case invalid_handle:
      *text = "CUDA_ERROR_INVALID_HANDLE";
      return ok;
    case not_found:
      *text = "CUDA_ERROR_NOT_FOUND";
      return ok;
    case not_ready:
      *text = "CUDA_ERROR_NOT_READY";
      return ok;
    case illegal_address:
      *text = "CUDA_ERROR_ILLEGAL_ADDRESS";
      return ok;
    case launch_out_of_resources:
      *text = "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES";
      return ok;
    case 803:
      *text = "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH";
      return ok;
    default:
      return invalid_value;
  }
}

int cuGetErrorString(int error, const char** text) {
  switch (error) {
    case out_of_memory:
      *text = "out of memory";
      return ok;
    case invalid_handle:
      *text = "invalid resource handle";
      return ok;
    case illegal_address:
      *text = "an illegal memory access was encountered";
      return ok;
    case launch_out_of_resources:
      *text = "too many resources requested for launch";
      return ok;
    case 803:
      *text = "system has unsupported display driver / cuda driver combination";
      return ok;
    default:
      return invalid_value;
  }
}

int cuDeviceGetCount(int* count) {
  const call guard;
  if (!the().initialized) return not_initialized;
  *count = static_cast<int>(the().setting("devices"));
  return ok;
}

int cuDeviceGet(int* device, int ordinal) {
  const call guard;
  if (!device_exists(ordinal)) return invalid_device;
  *device = ordinal;
  return ok;
}

int cuDeviceGetName(char* name, int length, int device) {
  const call guard;
  if (!device_exists(device)) return invalid_device;
  std::snprintf(name, static_cast<std::size_t>(length), "Fake GPU");
  return ok;
}

int cuDeviceTotalMem(std::size_t* bytes, int device) {
  const call guard;
  if (!device_exists(device)) return invalid_device;
  *bytes = std::size_t{16} << 30;
  return ok;
}

int cuDeviceGetAttribute(int* value, int attribute, int device) {
  const call guard;
  if (!device_exists(device)) return invalid_device;
  if (attribute == gpubench::cuda::compute_capability_major) {
    *value = 8;
  } else if (attribute == gpubench::cuda::compute_capability_minor) {
    *value = 6;
  } else {
    return invalid_value;
  }
  return ok;
}

int cuDeviceGetUuid(gpubench::cuda::device_uuid* uuid, int device) {
  const call guard;
  if (!device_exists(device)) return invalid_device;
  for (int i = 0; i < 16; ++i) uuid->bytes[i] = static_cast<char>(0xf0 + i);
  uuid->bytes[15] = static_cast<char>(device);
  return ok;
}

int cuDeviceGetPCIBusId(char* text, int length, int device) {
  const call guard;
  if (!device_exists(device)) return invalid_device;
  std::snprintf(text, static_cast<std::size_t>(length), "0000:%02X:00.0", device + 1);
  return ok;
}

int cuDevicePrimaryCtxRetain(CUctx_st** context, int device) {
  const call guard;
  if (!device_exists(device)) return invalid_device;
  CUctx_st& primary = the().contexts[device];
  primary.device = device;
  if (primary.retained++ == 0) primary.lost = ok;
  *context = &primary;
  return ok;
}

int cuDevicePrimaryCtxRelease(int device) {
  const call guard;
  CUctx_st& primary = the().contexts[device];
  if (primary.retained == 0) return invalid_context;
  --primary.retained;
  return ok;
}

int cuCtxPushCurrent(CUctx_st* context) {
  const call guard;
  for (const auto& [device, each] : the().contexts) {
    if (&each == context && each.retained > 0) {
      current().push_back(context);
      return ok;
    }
  }
  return invalid_context;
}

int cuCtxPopCurrent(CUctx_st** context) {
  const call guard;
  if (current().empty()) return invalid_context;
  *context = current().back();
  current().pop_back();
  return ok;
}

int cuStreamCreate(CUstream_st** stream, unsigned) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  *stream = the().streams.add({current().back()});
  return ok;
}

int cuStreamDestroy(CUstream_st* stream) {
  const call guard;
  if (!the().streams.remove(stream)) return invalid_handle;
  return context_state();
}

int cuStreamQuery(CUstream_st* stream) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (!the().streams.has(stream)) return invalid_handle;
  return stream->tail_ns <= the().now_ns ? ok : not_ready;
}

int cuEventCreate(CUevent_st** event, unsigned) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  *event = the().events.add({current().back()});
  return ok;
}

int cuEventDestroy(CUevent_st* event) {
  const call guard;
  if (!the().events.remove(event)) return invalid_handle;
  return context_state();
}

int cuEventRecord(CUevent_st* event, CUstream_st* stream) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (!the().events.has(event) || !the().streams.has(stream)) return invalid_handle;
  if (event->context != stream->context) return invalid_handle;
  stream->tail_ns = the().begin_ns(*stream);
  event->recorded = true;
  event->at_ns = stream->tail_ns;
  return ok;
}

int cuEventQuery(CUevent_st* event) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (!the().events.has(event)) return invalid_handle;
  return !event->recorded || event->at_ns <= the().now_ns ? ok : not_ready;
}

int cuEventElapsedTime(float* milliseconds, CUevent_st* from, CUevent_st* to) {
  const call guard;
  world& now = the();
  if (const int state = context_state(); state != ok) return state;
  if (!now.events.has(from) || !now.events.has(to)) return invalid_handle;
  if (!from->recorded || !to->recorded || now.setting("event_timing") == 0) return invalid_handle;
  if (std::max(from->at_ns, to->at_ns) > the().now_ns) return not_ready;
  ++now.counts["elapsed"];
  const std::int64_t between_ns = now.event_ns(*to) - now.event_ns(*from);
  *milliseconds = static_cast<float>(static_cast<double>(between_ns) * 1e-6);
  return ok;
}

int cuMemHostAlloc(void** address, std::size_t bytes, unsigned) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (the().strikes("out_of_memory_at")) return out_of_memory;
  *address = the().pinned.add(bytes);
  std::memset(*address, 0xaa, bytes);
  return ok;
}

int cuMemFreeHost(void* address) {
  const call guard;
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  the().check_unused(begin, the().pinned.bytes_at(begin));
  if (!the().pinned.remove(begin)) return invalid_value;
  return context_state();
}

int cuMemAlloc(device_address* address, std::size_t bytes) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (the().strikes("out_of_memory_at")) return out_of_memory;
  void* const data = the().device.add(bytes);
  std::memset(data, 0xbb, bytes);
  *address = reinterpret_cast<std::uintptr_t>(data) | device_bit;
  return ok;
}

int cuMemFree(device_address address) {
  const call guard;
  const std::uintptr_t begin = host_side(address);
  the().check_unused(begin, the().device.bytes_at(begin));
  if (!the().device.remove(begin)) return invalid_value;
  return context_state();
}

int cuMemcpyHtoDAsync(device_address to, const void* from, std::size_t bytes, CUstream_st* stream) {
  const call guard;
  const auto source = reinterpret_cast<std::uintptr_t>(from);
  return copy(stream, host_side(to), source, bytes, source, host_side(to));
}

int cuMemcpyDtoHAsync(void* to, device_address from, std::size_t bytes, CUstream_st* stream) {
  const call guard;
  const auto target = reinterpret_cast<std::uintptr_t>(to);
  return copy(stream, target, host_side(from), bytes, target, host_side(from));
}

int cuModuleLoadData(CUmod_st** module, const void* image) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  const std::string text(static_cast<const char*>(image));
  if (text.find(".version") == std::string::npos) return invalid_ptx;
  *module = the().modules.add({text});
  return ok;
}

int cuModuleUnload(CUmod_st* module) {
  const call guard;
  if (!the().modules.remove(module)) return invalid_handle;
  return context_state();
}

int cuModuleGetFunction(CUfunc_st** kernel, CUmod_st* module, const char* name) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (!the().modules.has(module)) return invalid_handle;
  if (module->text.find(".entry " + std::string(name) + "(") == std::string::npos) {
    return not_found;
  }
  *kernel = the().functions.add({name});
  return ok;
}

int cuLaunchKernel(CUfunc_st* kernel, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                   unsigned, CUstream_st* stream, void** arguments, void**) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (!the().functions.has(kernel) || !the().streams.has(stream)) return invalid_handle;
  const CUgraphNode_st node = launched(*kernel, arguments);
  const auto run = [node, context = stream->context](std::int64_t end_ns) {
    run_kernel(node, *context, end_ns);
  };
  return launch(*stream, kernel_ns(node), run, {});
}

int cuGraphCreate(CUgraph_st** graph, unsigned) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  *graph = the().graphs.add({});
  return ok;
}

int cuGraphDestroy(CUgraph_st* graph) {
  const call guard;
  return the().graphs.remove(graph) ? ok : invalid_handle;
}

int cuGraphAddKernelNode(CUgraphNode_st** node, CUgraph_st* graph, CUgraphNode_st* const*,
                         std::size_t, const gpubench::cuda::kernel_node_params* given) {
  const call guard;
  if (!the().graphs.has(graph) || !the().functions.has(given->func)) return invalid_handle;
  graph->nodes.push_back(
      std::make_unique<CUgraphNode_st>(launched(*given->func, given->kernelParams)));
  *node = graph->nodes.back().get();
  return ok;
}

int cuGraphInstantiateWithFlags(CUgraphExec_st** executable, CUgraph_st* graph,
                                unsigned long long) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (!the().graphs.has(graph)) return invalid_handle;
  CUgraphExec_st made;
  for (const auto& node : graph->nodes) made.nodes.emplace(node.get(), *node);
  *executable = the().graph_execs.add(std::move(made));
  return ok;
}

int cuGraphExecKernelNodeSetParams(CUgraphExec_st* executable, CUgraphNode_st* node,
                                   const gpubench::cuda::kernel_node_params* given) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (!the().graph_execs.has(executable) || executable->nodes.count(node) == 0) {
    return invalid_handle;
  }
  if (!the().functions.has(given->func)) return invalid_handle;
  executable->nodes[node] = launched(*given->func, given->kernelParams);
  return ok;
}

int cuGraphLaunch(CUgraphExec_st* executable, CUstream_st* stream) {
  const call guard;
  world& now = the();
  if (const int state = context_state(); state != ok) return state;
  if (!now.graph_execs.has(executable) || !now.streams.has(stream)) return invalid_handle;
  if (now.executes(executable)) ++now.counts["overlapping_launches"];
  std::int64_t duration_ns = executable->copy_duration_ns;
  for (const auto& [handle, node] : executable->nodes) duration_ns += kernel_ns(node);
  const auto run = [graph = *executable, context = stream->context](std::int64_t end_ns) {
    for (const auto& [handle, node] : graph.nodes) run_kernel(node, *context, end_ns);
    if (graph.bytes > 0) {
      std::memcpy(reinterpret_cast<void*>(host_side(graph.to)),
                  reinterpret_cast<const void*>(host_side(graph.from)), graph.bytes);
    }
  };
  return launch(*stream, duration_ns, run,
                {{reinterpret_cast<std::uintptr_t>(executable), 1},
                 {host_side(executable->to), executable->bytes},
                 {host_side(executable->from), executable->bytes}});
}

int cuGraphExecDestroy(CUgraphExec_st* executable) {
  const call guard;
  the().check_unused(reinterpret_cast<std::uintptr_t>(executable), 1);
  return the().graph_execs.remove(executable) ? context_state() : invalid_handle;
}

long long fake_cuda_get(const char* name) {
  const call guard;
  world& now = the();
  const std::string wanted(name);
  long long contexts = 0;
  for (const auto& [device, each] : now.contexts) contexts += each.retained;
  const std::map<std::string, long long> live{
      {"live_contexts", contexts},
      {"live_streams", static_cast<long long>(now.streams.size())},
      {"live_events", static_cast<long long>(now.events.size())},
      {"live_pinned", static_cast<long long>(now.pinned.size())},
      {"live_device", static_cast<long long>(now.device.size())},
      {"live_modules", static_cast<long long>(now.modules.size())},
      {"live_graphs", static_cast<long long>(now.graphs.size())},
      {"live_graph_execs", static_cast<long long>(now.graph_execs.size())}};
  if (wanted == "live") {
    long long sum = 0;
    for (const auto& each : live) sum += each.second;
    return sum;
  }
  if (const auto found = live.find(wanted); found != live.end()) return found->second;
  if (const auto found = now.values.find(wanted); found != now.values.end()) return found->second;
  for (const char* count : {"launches", "copies", "pageable_copies", "elapsed", "freed_in_use",
                            "overlapping_launches"}) {
    if (wanted == count) return now.counts[wanted];
  }
  return -1;
}

int fake_cuda_set(const char* name, long long value) {
  const call guard;
  const auto found = the().values.find(name);
  if (found == the().values.end()) return 0;
  found->second = value;
  return 1;
}

void fake_cuda_reset() {
  const call guard;
  the().values = from_environment();
}

CUgraphExec_st* fake_cuda_copy_graph(device_address to, device_address from, std::size_t bytes,
                                     long long duration_ns) {
  const call guard;
  CUgraphExec_st made;
  made.copy_duration_ns = duration_ns;
  made.to = to;
  made.from = from;
  made.bytes = bytes;
  return the().graph_execs.add(std::move(made));
}

}  // extern "C"

namespace {

struct entry {
  const char* name;
  int version;
  void* address;
};

// The compiler sees that the fake's function has the signature that the core calls.
template <class... Parameters>
entry point(const char* name, int version, int (*fake)(Parameters...),
            const function<Parameters...> driver::*) {
  return {name, version, reinterpret_cast<void*>(fake)};
}

#define POINT(name, version) point(#name, version, &name, &driver::name)

const std::vector<entry>& entries() {
  static const auto& all = *new std::vector<entry>{
      POINT(cuInit, 2000),
      POINT(cuDriverGetVersion, 2020),
      POINT(cuGetErrorName, 6000),
      POINT(cuGetErrorString, 6000),
      POINT(cuDeviceGetCount, 2000),
      POINT(cuDeviceGet, 2000),
      POINT(cuDeviceGetName, 2000),
      POINT(cuDeviceTotalMem, 3020),
      POINT(cuDeviceGetAttribute, 2000),
      POINT(cuDeviceGetUuid, 9020),
      POINT(cuDeviceGetPCIBusId, 4010),
      POINT(cuDevicePrimaryCtxRetain, 7000),
      POINT(cuDevicePrimaryCtxRelease, 11000),
      POINT(cuCtxPushCurrent, 4000),
      POINT(cuCtxPopCurrent, 4000),
      POINT(cuStreamCreate, 2000),
      POINT(cuStreamDestroy, 4000),
      POINT(cuStreamQuery, 2000),
      POINT(cuEventCreate, 2000),
      POINT(cuEventDestroy, 4000),
      POINT(cuEventRecord, 2000),
      POINT(cuEventQuery, 2000),
      POINT(cuEventElapsedTime, 2000),
      POINT(cuMemHostAlloc, 2020),
      POINT(cuMemFreeHost, 2000),
      POINT(cuMemAlloc, 3020),
      POINT(cuMemFree, 3020),
      POINT(cuMemcpyHtoDAsync, 3020),
      POINT(cuMemcpyDtoHAsync, 3020),
      POINT(cuModuleLoadData, 2000),
      POINT(cuModuleUnload, 2000),
      POINT(cuModuleGetFunction, 2000),
      POINT(cuLaunchKernel, 4000),
      POINT(cuGraphCreate, 10000),
      POINT(cuGraphDestroy, 10000),
      POINT(cuGraphAddKernelNode, 10000),
      POINT(cuGraphInstantiateWithFlags, 11040),
      POINT(cuGraphExecKernelNodeSetParams, 10010),
      POINT(cuGraphLaunch, 10000),
      POINT(cuGraphExecDestroy, 10000),
  };
  return all;
}

#undef POINT

}  // namespace

// Knows each function in one version only, so that a wrong number is found.
extern "C" int cuGetProcAddress_v2(const char* name, void** address, int version,
                                   unsigned long long, int* status) {
  for (const entry& each : entries()) {
    if (std::strcmp(each.name, name) != 0) continue;
    *address = each.version == version ? each.address : nullptr;
    *status = each.version == version ? 0 : 2;
    return *address != nullptr ? ok : not_found;
  }
  *status = 1;
  return not_found;
}
