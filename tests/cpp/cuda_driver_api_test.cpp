// Compares the core's own declarations of the driver with NVIDIA's headers: every signature, by its
// version, and the structures and constants. Prints that it is skipped if there are no such
// headers.
#include <cstdio>

#if __has_include(<cuda.h>) && __has_include(<cudaTypedefs.h>)

#include <cuda.h>
#include <cudaTypedefs.h>

#include <cstddef>
#include <type_traits>

#include "cuda/driver_api.hpp"

using namespace gpubench::cuda;

namespace {

// The type that the table uses for a type of cuda.h: int for an enumeration.
template <class Type>
struct in_table {
  using type = std::conditional_t<std::is_enum_v<Type>, int, Type>;
};
template <>
struct in_table<CUuuid*> {
  using type = device_uuid*;
};
template <>
struct in_table<const CUDA_KERNEL_NODE_PARAMS_v1*> {
  using type = const kernel_node_params*;
};

#if CUDA_VERSION >= 12080
template <>
struct in_table<CUmemcpyAttributes*> {
  using type = copy_attributes*;
};
#endif

template <class... Ours, class Answer, class... Theirs>
constexpr bool same(const function<Ours...> driver::*, Answer (*)(Theirs...)) {
  if constexpr (sizeof...(Ours) == sizeof...(Theirs)) {
    return (std::is_same_v<typename in_table<Theirs>::type, Ours> && ...) &&
           sizeof(Answer) == sizeof(int);
  } else {
    return false;
  }
}

#define SAME(name, version)                                                         \
  static_assert(same(&driver::name, static_cast<PFN_##name##_v##version>(nullptr)), \
                #name " has another signature")

SAME(cuInit, 2000);
SAME(cuDriverGetVersion, 2020);
SAME(cuGetErrorName, 6000);
SAME(cuGetErrorString, 6000);
SAME(cuDeviceGetCount, 2000);
SAME(cuDeviceGet, 2000);
SAME(cuDeviceGetName, 2000);
SAME(cuDeviceTotalMem, 3020);
SAME(cuDeviceGetAttribute, 2000);
SAME(cuDeviceGetUuid, 11040);
SAME(cuDeviceGetPCIBusId, 4010);
SAME(cuDevicePrimaryCtxRetain, 7000);
SAME(cuDevicePrimaryCtxRelease, 11000);
SAME(cuCtxPushCurrent, 4000);
SAME(cuCtxPopCurrent, 4000);
SAME(cuStreamCreate, 2000);
SAME(cuStreamDestroy, 4000);
SAME(cuStreamQuery, 2000);
SAME(cuEventCreate, 2000);
SAME(cuEventDestroy, 4000);
SAME(cuEventRecord, 2000);
SAME(cuEventQuery, 2000);
SAME(cuEventElapsedTime, 2000);
SAME(cuMemHostAlloc, 2020);
SAME(cuMemFreeHost, 2000);
SAME(cuMemAlloc, 3020);
SAME(cuMemFree, 3020);
SAME(cuMemcpyHtoDAsync, 3020);
SAME(cuMemcpyDtoHAsync, 3020);
#if CUDA_VERSION >= 12080
SAME(cuMemcpyBatchAsync, 12080);
static_assert(sizeof(copy_attributes) == sizeof(CUmemcpyAttributes));
static_assert(offsetof(copy_attributes, source_access_order) ==
              offsetof(CUmemcpyAttributes, srcAccessOrder));
static_assert(offsetof(copy_attributes, source_hint) == offsetof(CUmemcpyAttributes, srcLocHint));
static_assert(offsetof(copy_attributes, target_hint) == offsetof(CUmemcpyAttributes, dstLocHint));
static_assert(offsetof(copy_attributes, flags) == offsetof(CUmemcpyAttributes, flags));
static_assert(source_access_in_stream_order == CU_MEMCPY_SRC_ACCESS_ORDER_STREAM);
#endif
SAME(cuModuleLoadData, 2000);
SAME(cuModuleUnload, 2000);
SAME(cuModuleGetFunction, 2000);
SAME(cuLaunchKernel, 4000);
SAME(cuGraphCreate, 10000);
SAME(cuGraphDestroy, 10000);
SAME(cuGraphAddKernelNode, 10000);
SAME(cuGraphInstantiateWithFlags, 11040);
SAME(cuGraphExecKernelNodeSetParams, 10010);
SAME(cuGraphLaunch, 10000);
SAME(cuGraphExecDestroy, 10000);

static_assert(std::is_same_v<device_address, CUdeviceptr>);
static_assert(success == CUDA_SUCCESS);
static_assert(not_ready == CUDA_ERROR_NOT_READY);
static_assert(error_no_device == CUDA_ERROR_NO_DEVICE);
static_assert(event_with_timing == CU_EVENT_DEFAULT);
static_assert(stream_non_blocking == CU_STREAM_NON_BLOCKING);
static_assert(pinned_for_all_devices == CU_MEMHOSTALLOC_PORTABLE);
static_assert(legacy_stream == CU_GET_PROC_ADDRESS_LEGACY_STREAM);
static_assert(compute_capability_major == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(compute_capability_minor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);

#define SAME_PLACE(member)                              \
  static_assert(offsetof(kernel_node_params, member) == \
                offsetof(CUDA_KERNEL_NODE_PARAMS_v1, member))

SAME_PLACE(func);
SAME_PLACE(gridDimX);
SAME_PLACE(gridDimY);
SAME_PLACE(gridDimZ);
SAME_PLACE(blockDimX);
SAME_PLACE(blockDimY);
SAME_PLACE(blockDimZ);
SAME_PLACE(sharedMemBytes);
SAME_PLACE(kernelParams);
SAME_PLACE(extra);
static_assert(sizeof(kernel_node_params) == sizeof(CUDA_KERNEL_NODE_PARAMS_v1));
static_assert(sizeof(device_uuid) == sizeof(CUuuid));

}  // namespace

int main() {
  std::printf("ok   compared with cuda.h of CUDA %d\n", CUDA_VERSION);
}

#else

int main() {
  std::printf("skipped: no cuda.h was found\n");
}

#endif
