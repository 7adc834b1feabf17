// The structures and constants of cuda.h that the core uses, so that no build needs cuda.h.
// tests/cpp/cuda_driver_api_test.cpp compares them and every signature of the table with a real
// cuda.h.
#pragma once

#include "cuda/driver.hpp"

namespace gpubench::cuda {

// CUuuid
struct device_uuid {
  char bytes[16];
};

// CUDA_KERNEL_NODE_PARAMS_v1
struct kernel_node_params {
  CUfunc_st* func;
  unsigned gridDimX;
  unsigned gridDimY;
  unsigned gridDimZ;
  unsigned blockDimX;
  unsigned blockDimY;
  unsigned blockDimZ;
  unsigned sharedMemBytes;
  void** kernelParams;
  void** extra;
};

// CUmemLocation
struct memory_location {
  int type;  // 0: none is given
  int id;
};

// CUmemcpyAttributes
struct copy_attributes {
  int source_access_order;
  memory_location source_hint;
  memory_location target_hint;
  unsigned flags;
};

// CU_MEMCPY_SRC_ACCESS_ORDER_STREAM: the source is read when the stream reaches the copy.
inline constexpr int source_access_in_stream_order = 1;

// CUresult
inline constexpr int error_no_device = 100;

// CUdevice_attribute
inline constexpr int compute_capability_major = 75;
inline constexpr int compute_capability_minor = 76;

// CUdriverProcAddress_flags: functions that use the legacy default stream, as torch does.
inline constexpr unsigned long long legacy_stream = 1;

}  // namespace gpubench::cuda
