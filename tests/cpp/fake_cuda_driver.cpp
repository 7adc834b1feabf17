// The fake driver: the functions of the driver that the core uses, on simulated devices.

#include "fake_cuda_driver.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cuda/driver_api.hpp"
#include "fake_cuda_device.hpp"

using gpubench::cuda::driver;
using gpubench::cuda::function;
using namespace fake;

extern "C" {

int cuInit(unsigned) {
  const call guard;
  simulated_machine& now = machine();
  if (now.setting("init_error") != 0) return static_cast<int>(now.setting("init_error"));
  if (now.setting("devices") == 0) return no_device;
  now.initialized = true;
  return ok;
}

int cuDriverGetVersion(int* version) {
  const call guard;
  *version = static_cast<int>(machine().setting("driver_version"));
  return ok;
}

int cuGetErrorName(int error, const char** text) {
  const error_text* const known = text_of(error);
  if (known != nullptr) *text = known->name;
  return known != nullptr ? ok : invalid_value;
}

int cuGetErrorString(int error, const char** text) {
  const error_text* const known = text_of(error);
  if (known != nullptr) *text = known->text;
  return known != nullptr ? ok : invalid_value;
}

int cuDeviceGetCount(int* count) {
  const call guard;
  if (!machine().initialized) return not_initialized;
  *count = static_cast<int>(machine().setting("devices"));
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
  CUctx_st& primary = machine().contexts[device];
  primary.device = device;
  if (primary.retained++ == 0) primary.lost = ok;
  *context = &primary;
  return ok;
}

int cuDevicePrimaryCtxRelease(int device) {
  const call guard;
  CUctx_st& primary = machine().contexts[device];
  if (primary.retained == 0) return invalid_context;
  --primary.retained;
  return ok;
}

int cuCtxPushCurrent(CUctx_st* context) {
  const call guard;
  for (const auto& [device, each] : machine().contexts) {
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
  *stream = machine().streams.add({current().back()});
  return ok;
}

int cuStreamDestroy(CUstream_st* stream) {
  const call guard;
  if (!machine().streams.remove(stream)) return invalid_handle;
  return context_state();
}

int cuStreamQuery(CUstream_st* stream) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (!machine().streams.has(stream)) return invalid_handle;
  return stream->tail_ns <= machine().now_ns ? ok : not_ready;
}

int cuEventCreate(CUevent_st** event, unsigned) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  *event = machine().events.add({current().back()});
  return ok;
}

int cuEventDestroy(CUevent_st* event) {
  const call guard;
  if (!machine().events.remove(event)) return invalid_handle;
  return context_state();
}

int cuEventRecord(CUevent_st* event, CUstream_st* stream) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (!machine().events.has(event) || !machine().streams.has(stream)) return invalid_handle;
  if (event->context != stream->context) return invalid_handle;
  stream->tail_ns = machine().begin_ns(*stream);
  event->recorded = true;
  event->at_ns = stream->tail_ns;
  return ok;
}

int cuEventQuery(CUevent_st* event) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (!machine().events.has(event)) return invalid_handle;
  return !event->recorded || event->at_ns <= machine().now_ns ? ok : not_ready;
}

int cuEventElapsedTime(float* milliseconds, CUevent_st* from, CUevent_st* to) {
  const call guard;
  simulated_machine& now = machine();
  if (const int state = context_state(); state != ok) return state;
  if (!now.events.has(from) || !now.events.has(to)) return invalid_handle;
  if (!from->recorded || !to->recorded || now.setting("event_timing") == 0) return invalid_handle;
  if (std::max(from->at_ns, to->at_ns) > machine().now_ns) return not_ready;
  ++now.counts["elapsed"];
  const std::int64_t between_ns = now.event_ns(*to) - now.event_ns(*from);
  *milliseconds = static_cast<float>(static_cast<double>(between_ns) * 1e-6);
  return ok;
}

int cuMemHostAlloc(void** address, std::size_t bytes, unsigned) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (machine().fails_now("out_of_memory_at")) return out_of_memory;
  *address = machine().pinned.add(bytes);
  std::memset(*address, 0xaa, bytes);
  return ok;
}

int cuMemFreeHost(void* address) {
  const call guard;
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  machine().check_unused(begin, machine().pinned.bytes_at(begin));
  if (!machine().pinned.remove(begin)) return invalid_value;
  return context_state();
}

int cuMemAlloc(device_address* address, std::size_t bytes) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (machine().fails_now("out_of_memory_at")) return out_of_memory;
  void* const data = machine().device.add(bytes);
  std::memset(data, 0xbb, bytes);
  *address = reinterpret_cast<std::uintptr_t>(data) | device_bit;
  return ok;
}

int cuMemFree(device_address address) {
  const call guard;
  const std::uintptr_t begin = host_side(address);
  machine().check_unused(begin, machine().device.bytes_at(begin));
  if (!machine().device.remove(begin)) return invalid_value;
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

int cuMemcpyBatchAsync(device_address* to, device_address* from, std::size_t* bytes,
                       std::size_t count, gpubench::cuda::copy_attributes* attributes,
                       std::size_t* first_with, std::size_t attribute_count, std::size_t* failed,
                       CUstream_st* stream) {
  const call guard;
  *failed = SIZE_MAX;  // not a copy, but the call
  if (count == 0 || attribute_count != 1 || first_with[0] != 0) return invalid_value;
  if (attributes[0].source_access_order != 1) return invalid_value;
  ++machine().counts["batched_copies"];
  for (std::size_t i = 0; i < count; ++i) {
    const auto source = static_cast<std::uintptr_t>(from[i]);
    const int code = copy(stream, host_side(to[i]), source, bytes[i], source, host_side(to[i]));
    if (code == ok) continue;
    *failed = i;
    return code;
  }
  return ok;
}

int cuModuleLoadData(CUmod_st** module, const void* image) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  const std::string text(static_cast<const char*>(image));
  if (text.find(".version") == std::string::npos) return invalid_ptx;
  *module = machine().modules.add({text});
  return ok;
}

int cuModuleUnload(CUmod_st* module) {
  const call guard;
  if (!machine().modules.remove(module)) return invalid_handle;
  return context_state();
}

int cuModuleGetFunction(CUfunc_st** kernel, CUmod_st* module, const char* name) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (!machine().modules.has(module)) return invalid_handle;
  if (module->text.find(".entry " + std::string(name) + "(") == std::string::npos) {
    return not_found;
  }
  *kernel = machine().functions.add({name});
  return ok;
}

int cuLaunchKernel(CUfunc_st* kernel, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                   unsigned, CUstream_st* stream, void** arguments, void**) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (!machine().functions.has(kernel) || !machine().streams.has(stream)) return invalid_handle;
  const CUgraphNode_st node = launched(*kernel, arguments);
  const auto run = [node, context = stream->context](std::int64_t end_ns) {
    run_kernel(node, *context, end_ns);
  };
  return launch(*stream, kernel_ns(node), run, {});
}

int cuGraphCreate(CUgraph_st** graph, unsigned) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  *graph = machine().graphs.add({});
  return ok;
}

int cuGraphDestroy(CUgraph_st* graph) {
  const call guard;
  return machine().graphs.remove(graph) ? ok : invalid_handle;
}

int cuGraphAddKernelNode(CUgraphNode_st** node, CUgraph_st* graph, CUgraphNode_st* const*,
                         std::size_t, const gpubench::cuda::kernel_node_params* given) {
  const call guard;
  if (!machine().graphs.has(graph) || !machine().functions.has(given->func)) return invalid_handle;
  graph->nodes.push_back(
      std::make_unique<CUgraphNode_st>(launched(*given->func, given->kernelParams)));
  *node = graph->nodes.back().get();
  return ok;
}

int cuGraphInstantiateWithFlags(CUgraphExec_st** executable, CUgraph_st* graph,
                                unsigned long long) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (!machine().graphs.has(graph)) return invalid_handle;
  CUgraphExec_st made;
  for (const auto& node : graph->nodes) made.nodes.emplace(node.get(), *node);
  *executable = machine().graph_execs.add(std::move(made));
  return ok;
}

int cuGraphExecKernelNodeSetParams(CUgraphExec_st* executable, CUgraphNode_st* node,
                                   const gpubench::cuda::kernel_node_params* given) {
  const call guard;
  if (const int state = context_state(); state != ok) return state;
  if (!machine().graph_execs.has(executable) || executable->nodes.count(node) == 0) {
    return invalid_handle;
  }
  if (!machine().functions.has(given->func)) return invalid_handle;
  executable->nodes[node] = launched(*given->func, given->kernelParams);
  return ok;
}

int cuGraphLaunch(CUgraphExec_st* executable, CUstream_st* stream) {
  const call guard;
  simulated_machine& now = machine();
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
  machine().check_unused(reinterpret_cast<std::uintptr_t>(executable), 1);
  return machine().graph_execs.remove(executable) ? context_state() : invalid_handle;
}

long long fake_cuda_get(const char* name) {
  const call guard;
  simulated_machine& now = machine();
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
  for (const char* count : {"launches", "copies", "batched_copies", "pageable_copies", "elapsed",
                            "freed_in_use", "overlapping_launches"}) {
    if (wanted == count) return now.counts[wanted];
  }
  return -1;
}

int fake_cuda_set(const char* name, long long value) {
  const call guard;
  const auto found = machine().values.find(name);
  if (found == machine().values.end()) return 0;
  found->second = value;
  return 1;
}

void fake_cuda_reset() {
  const call guard;
  machine().values = from_environment();
}

CUgraphExec_st* fake_cuda_copy_graph(device_address to, device_address from, std::size_t bytes,
                                     long long duration_ns) {
  const call guard;
  CUgraphExec_st made;
  made.copy_duration_ns = duration_ns;
  made.to = to;
  made.from = from;
  made.bytes = bytes;
  return machine().graph_execs.add(std::move(made));
}

}  // extern "C"

namespace {

struct entry {
  const char* name;
  int version;
  void* address;
};

// The compiler checks that the fake's function has the signature of the core's table.
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
      POINT(cuDeviceGetUuid, 11040),
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
      POINT(cuMemcpyBatchAsync, 12080),
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

// Knows each function in one version only, so that a wrong version in the table is found. Functions
// that are newer than the driver are missing.
extern "C" int cuGetProcAddress_v2(const char* name, void** address, int version,
                                   unsigned long long, int* status) {
  for (const entry& each : entries()) {
    if (std::strcmp(each.name, name) != 0) continue;
    const bool newer = each.version > machine().setting("driver_version");
    *address = each.version == version && !newer ? each.address : nullptr;
    *status = *address != nullptr ? 0 : 2;
    return *address != nullptr ? ok : not_found;
  }
  *status = 1;
  return not_found;
}
