// The fake driver's controls. docs/cuda.md says what it simulates.
//
// Names of what can be set, also by the environment: GPUBENCH_FAKE_CUDA="devices=2,drift_ppm=40".
//
//   devices             1        GPUs of the machine; 0: cuInit answers CUDA_ERROR_NO_DEVICE
//   driver_version      12000    what cuDriverGetVersion answers
//   init_error          0        what cuInit answers
//   drift_ppm           40       the device's clock gains so much on the host's
//   event_tick_ns       500      events have the time in such steps
//   event_timing        1        0: events do not keep the time
//   submit_ns           10000    from the call until an idle stream begins; what is handed over in
//                                that time follows without a gap
//   copy_ns             2000     a copy, and
//   copy_bytes_per_us   12000    its speed
//   kernel_ns           2000     a kernel that does not say how long it takes
//
// Faults, at the n-th call of their kind from now on; 0: never
//
//   out_of_memory_at             an allocation fails
//   launch_fails_at              a launch fails
//   launch_kills_at              a launch ends with a sticky error
//   launch_hangs_at              a launch never ends
//   slow_copy_at                 a copy takes slow_copy_ns longer (100000000)
//
// What can be read besides: live_contexts, live_streams, live_events, live_pinned, live_device,
// live_modules, live_graphs, live_graph_execs, and live, their sum; launches, copies,
// pageable_copies (not from or to pinned memory), elapsed (times read), freed_in_use (memory and
// graphs that were given back while work was left that uses them), overlapping_launches (of one
// graph).
#pragma once

#include <cstddef>

#include "cuda/driver.hpp"

extern "C" {

// -1 for an unknown name.
long long fake_cuda_get(const char* name);

// Returns whether the name is known.
int fake_cuda_set(const char* name, long long value);

// Everything that can be set, as it was in the beginning.
void fake_cuda_reset();

// A graph that takes `duration_ns` and then copies `bytes` within the device: what somebody else
// might have captured. To be given back by cuGraphExecDestroy.
CUgraphExec_st* fake_cuda_copy_graph(gpubench::cuda::device_address to,
                                     gpubench::cuda::device_address from, std::size_t bytes,
                                     long long duration_ns);
}
