// A kernel that takes a known time, and says what time it took.
//
// It is PTX of an old version, so every driver since CUDA 12.0 compiles it for whatever GPU it
// finds (from compute capability 7.0 on), and no compiler is needed to build the core.
#pragma once

#include <cstdint>

#include "cuda/stream.hpp"
#include "cuda/unique_handle.hpp"

namespace gpubench::cuda {

// One thread of `gpubench_spin(u64 duration_ns, u64* shown)` watches the device's %globaltimer
// until `duration_ns` have passed, and stores what it showed first and last. `gpubench_empty()`
// does nothing: what it takes is what any kernel takes.
//
// The timer moves in steps, 32 ns on some GPUs and about 1 us on others; to watch it for 1 ns is to
// watch it for one step.
extern const char* const spin_ptx;

// What a spin kernel stores.
struct spin_times {
  std::uint64_t first_ns;
  std::uint64_t last_ns;
};

// The two kernels, loaded on a device. Move-only.
// REQUIRES: where it is used, its context is current. Members throw cuda_error.
class spin_kernel {
 public:
  explicit spin_kernel(const shared_context& on);

  // `shown` has room for spin_times.
  void launch(const stream& on, std::uint64_t duration_ns, device_address shown) const;
  void launch_empty(const stream& on) const;

  // For graphs. Valid as long as this is.
  CUfunc_st* spin() const noexcept { return spin_; }
  CUfunc_st* empty() const noexcept { return empty_; }

 private:
  unique_handle<CUmod_st*, &driver::cuModuleUnload> module_;
  CUfunc_st* spin_ = nullptr;
  CUfunc_st* empty_ = nullptr;
};

}  // namespace gpubench::cuda
