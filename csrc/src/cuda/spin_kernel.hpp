// A kernel that takes a known time, and measures the time that it took.
//
// The kernel is PTX of an old version. Every driver since CUDA 12.0 compiles it for any GPU with
// compute capability 7.0 or newer, and no CUDA compiler is needed to build the core.
#pragma once

#include <cstdint>

#include "cuda/stream.hpp"
#include "cuda/unique_handle.hpp"

namespace gpubench::cuda {

// One thread of `gpubench_spin(u64 duration_ns, u64* times)` reads the device's %globaltimer in a
// loop until `duration_ns` have passed, and stores the first and the last value. `gpubench_empty()`
// does nothing: it takes the time that every kernel takes.
//
// The timer has steps of 32 ns on some GPUs and of about 1 us on others. With a duration of 1 ns
// the kernel waits for one step.
extern const char* const spin_ptx;

// The timer values that a spin kernel stores.
struct spin_times {
  std::uint64_t first_ns;
  std::uint64_t last_ns;
};

// The two kernels, loaded on a device. Move-only.
// REQUIRES: the context is current when a member is called. Members throw cuda_error.
class spin_kernel {
 public:
  explicit spin_kernel(const shared_context& in_context);

  // `times` has room for spin_times.
  void launch(const stream& on_stream, std::uint64_t duration_ns, device_address times) const;
  void launch_empty(const stream& on_stream) const;

  // For graphs. Valid as long as this object.
  CUfunc_st* spin() const noexcept { return spin_; }
  CUfunc_st* empty() const noexcept { return empty_; }

 private:
  unique_handle<CUmod_st*, &driver::cuModuleUnload> module_;
  CUfunc_st* spin_ = nullptr;
  CUfunc_st* empty_ = nullptr;
};

}  // namespace gpubench::cuda
