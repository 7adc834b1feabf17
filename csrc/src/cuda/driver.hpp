// The functions of the NVIDIA driver that the core uses. They are looked up when the program runs,
// so the core can be built without CUDA and runs on machines without a GPU.
//
// Each function is looked up by its name and version. No version is newer than 12.0, so every
// driver since CUDA 12.0 has them; newer functions are optional. The handle types are those of
// cuda.h, which is not included.
#pragma once

#include <cstddef>

#include "gpubench/cuda/buffers.hpp"

struct CUctx_st;
struct CUevent_st;
struct CUfunc_st;
struct CUgraph_st;
struct CUgraphExec_st;
struct CUgraphNode_st;
struct CUmod_st;
struct CUstream_st;

namespace gpubench::cuda {

struct copy_attributes;     // CUmemcpyAttributes
struct device_uuid;         // CUuuid
struct kernel_node_params;  // CUDA_KERNEL_NODE_PARAMS, in its first version

// Return codes that are not failures.
inline constexpr int success = 0;
inline constexpr int not_ready = 600;

// Flags.
inline constexpr unsigned event_with_timing = 0;       // CU_EVENT_DEFAULT
inline constexpr unsigned stream_non_blocking = 1;     // CU_STREAM_NON_BLOCKING
inline constexpr unsigned pinned_for_all_devices = 1;  // CU_MEMHOSTALLOC_PORTABLE

// A shared library. It is never unloaded, because abandoned threads can be inside its functions.
class library {
 public:
  // Throws unavailable.
  explicit library(const char* path);

  // The function with this name, of this version ("cuMemAlloc", 3020). Throws unavailable.
  void* find(const char* name, int version) const;

  // The same; null if the driver is too old for it.
  void* find_optional(const char* name, int version) const noexcept;

 private:
  using get_proc_address = int (*)(const char*, void**, int, unsigned long long, int*);
  get_proc_address get_proc_address_;
};

// Throws the cuda_error for a call that returned `code`.
[[noreturn]] void throw_cuda_error(const char* call, int code);

// Marks a function that a driver may not have.
struct optional_function {};

// One function of the driver.
template <class... Parameters>
class function {
 public:
  function(const library& from, const char* name, int version)
      : name_(name), pointer_(reinterpret_cast<pointer>(from.find(name, version))) {}
  function(const library& from, const char* name, int version, optional_function)
      : name_(name), pointer_(reinterpret_cast<pointer>(from.find_optional(name, version))) {}

  bool available() const noexcept { return pointer_ != nullptr; }

  // Throws cuda_error unless the driver returns success.
  void operator()(Parameters... arguments) const {
    const int code = pointer_(arguments...);
    if (code != success) throw_cuda_error(name_, code);
  }

  // Returns the code of the driver. For calls whose failure is expected or has to be ignored.
  int attempt(Parameters... arguments) const noexcept { return pointer_(arguments...); }

  const char* name() const noexcept { return name_; }

 private:
  using pointer = int (*)(Parameters...);
  const char* name_;
  pointer pointer_;
};

// The table of functions. Every function is thread-safe, as those of the driver are.
class driver {
  library library_;  // must be initialised before the functions

 public:
  // Loads and initialises the driver. Throws unavailable.
  explicit driver(const char* path);

  const function<unsigned> cuInit{library_, "cuInit", 2000};
  const function<int*> cuDriverGetVersion{library_, "cuDriverGetVersion", 2020};
  const function<int, const char**> cuGetErrorName{library_, "cuGetErrorName", 6000};
  const function<int, const char**> cuGetErrorString{library_, "cuGetErrorString", 6000};

  const function<int*> cuDeviceGetCount{library_, "cuDeviceGetCount", 2000};
  const function<int*, int> cuDeviceGet{library_, "cuDeviceGet", 2000};
  const function<char*, int, int> cuDeviceGetName{library_, "cuDeviceGetName", 2000};
  const function<std::size_t*, int> cuDeviceTotalMem{library_, "cuDeviceTotalMem", 3020};
  const function<int*, int, int> cuDeviceGetAttribute{library_, "cuDeviceGetAttribute", 2000};
  // This version returns the UUID of a MIG slice if the device is one.
  const function<device_uuid*, int> cuDeviceGetUuid{library_, "cuDeviceGetUuid", 11040};
  const function<char*, int, int> cuDeviceGetPCIBusId{library_, "cuDeviceGetPCIBusId", 4010};

  const function<CUctx_st**, int> cuDevicePrimaryCtxRetain{library_, "cuDevicePrimaryCtxRetain",
                                                           7000};
  const function<int> cuDevicePrimaryCtxRelease{library_, "cuDevicePrimaryCtxRelease", 11000};
  const function<CUctx_st*> cuCtxPushCurrent{library_, "cuCtxPushCurrent", 4000};
  const function<CUctx_st**> cuCtxPopCurrent{library_, "cuCtxPopCurrent", 4000};

  const function<CUstream_st**, unsigned> cuStreamCreate{library_, "cuStreamCreate", 2000};
  const function<CUstream_st*> cuStreamDestroy{library_, "cuStreamDestroy", 4000};
  const function<CUstream_st*> cuStreamQuery{library_, "cuStreamQuery", 2000};

  const function<CUevent_st**, unsigned> cuEventCreate{library_, "cuEventCreate", 2000};
  const function<CUevent_st*> cuEventDestroy{library_, "cuEventDestroy", 4000};
  const function<CUevent_st*, CUstream_st*> cuEventRecord{library_, "cuEventRecord", 2000};
  const function<CUevent_st*> cuEventQuery{library_, "cuEventQuery", 2000};
  const function<float*, CUevent_st*, CUevent_st*> cuEventElapsedTime{library_,
                                                                      "cuEventElapsedTime", 2000};

  const function<void**, std::size_t, unsigned> cuMemHostAlloc{library_, "cuMemHostAlloc", 2020};
  const function<void*> cuMemFreeHost{library_, "cuMemFreeHost", 2000};
  const function<device_address*, std::size_t> cuMemAlloc{library_, "cuMemAlloc", 3020};
  const function<device_address> cuMemFree{library_, "cuMemFree", 3020};

  const function<device_address, const void*, std::size_t, CUstream_st*> cuMemcpyHtoDAsync{
      library_, "cuMemcpyHtoDAsync", 3020};
  const function<void*, device_address, std::size_t, CUstream_st*> cuMemcpyDtoHAsync{
      library_, "cuMemcpyDtoHAsync", 3020};

  // Several copies with one call. Drivers for CUDA 13 have this version too.
  const function<device_address*, device_address*, std::size_t*, std::size_t, copy_attributes*,
                 std::size_t*, std::size_t, std::size_t*, CUstream_st*>
      cuMemcpyBatchAsync{library_, "cuMemcpyBatchAsync", 12080, optional_function{}};

  const function<CUmod_st**, const void*> cuModuleLoadData{library_, "cuModuleLoadData", 2000};
  const function<CUmod_st*> cuModuleUnload{library_, "cuModuleUnload", 2000};
  const function<CUfunc_st**, CUmod_st*, const char*> cuModuleGetFunction{
      library_, "cuModuleGetFunction", 2000};
  const function<CUfunc_st*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                 CUstream_st*, void**, void**>
      cuLaunchKernel{library_, "cuLaunchKernel", 4000};

  const function<CUgraph_st**, unsigned> cuGraphCreate{library_, "cuGraphCreate", 10000};
  const function<CUgraph_st*> cuGraphDestroy{library_, "cuGraphDestroy", 10000};
  const function<CUgraphNode_st**, CUgraph_st*, CUgraphNode_st* const*, std::size_t,
                 const kernel_node_params*>
      cuGraphAddKernelNode{library_, "cuGraphAddKernelNode", 10000};
  const function<CUgraphExec_st**, CUgraph_st*, unsigned long long> cuGraphInstantiateWithFlags{
      library_, "cuGraphInstantiateWithFlags", 11040};
  const function<CUgraphExec_st*, CUgraphNode_st*, const kernel_node_params*>
      cuGraphExecKernelNodeSetParams{library_, "cuGraphExecKernelNodeSetParams", 10010};
  const function<CUgraphExec_st*, CUstream_st*> cuGraphLaunch{library_, "cuGraphLaunch", 10000};
  const function<CUgraphExec_st*> cuGraphExecDestroy{library_, "cuGraphExecDestroy", 10000};

  // The CUDA version that the driver was made for: 12080 is CUDA 12.8.
  int version() const;
};

// The driver of this machine. The first call loads it. Throws unavailable; the next call tries
// again.
//
// CUDA does not work after fork: in a child of a process that had loaded the driver, this throws
// unavailable, and handles that the child inherited are not destroyed.
//
// The environment variable GPUBENCH_TEST_CUDA_DRIVER names another library with the same functions.
// Only tests set it.
const driver& load_driver();

// The driver if this process has loaded it, otherwise null. For destructors.
const driver* loaded_driver() noexcept;

}  // namespace gpubench::cuda
