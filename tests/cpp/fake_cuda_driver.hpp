// The controls of the fake driver. docs/cuda.md describes what it simulates.
//
// Settings. The environment can set them too: GPUBENCH_FAKE_CUDA="devices=2,drift_ppm=40".
//
//   devices             1        GPUs of the machine; 0: cuInit returns CUDA_ERROR_NO_DEVICE
//   driver_version      12000    the result of cuDriverGetVersion; newer functions are missing
//   init_error          0        the result of cuInit
//   drift_ppm           40       how much faster the device's clock runs than the host's
//   event_tick_ns       500      the resolution of events
//   event_timing        1        0: events have no timing
//   submit_ns           10000    from the call until an idle stream starts; work that is
//                                enqueued in that time follows without a gap
//   copy_ns             2000     the latency of a copy
//   copy_bytes_per_us   12000    the speed of a copy
//   kernel_ns           2000     the duration of an unknown kernel
//
// Faults. The value n means the n-th call of that kind from now on; 0: never.
//
//   out_of_memory_at             an allocation fails
//   launch_fails_at              a launch fails
//   launch_kills_at              a launch ends with a sticky error
//   launch_hangs_at              a launch never ends
//   copy_fails_at                a copy fails, also one of several copies of one call
//   slow_copy_at                 a copy takes slow_copy_ns longer (100000000)
//
// Counters, which can only be read: live_contexts, live_streams, live_events, live_pinned,
// live_device, live_modules, live_graphs, live_graph_execs, and live, which is their sum; launches,
// copies, batched_copies (calls for several copies), pageable_copies (of memory that is not
// pinned), elapsed (times that were read), freed_in_use (memory and graphs that were freed while
// enqueued work used them), overlapping_launches (of one graph).
#pragma once

#include <cstddef>

#include "cuda/driver.hpp"

extern "C" {

// The value of a setting or counter; -1 for an unknown name.
long long fake_cuda_get(const char* name);

// Changes a setting. Returns whether the name is known.
int fake_cuda_set(const char* name, long long value);

// Restores the initial values of all settings.
void fake_cuda_reset();

// A graph that takes `duration_ns` and then copies `bytes` within the device, as a capture could
// have made it. The caller destroys it with cuGraphExecDestroy.
CUgraphExec_st* fake_cuda_copy_graph(gpubench::cuda::device_address to,
                                     gpubench::cuda::device_address from, std::size_t bytes,
                                     long long duration_ns);
}
