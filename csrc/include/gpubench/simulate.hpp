// The same as a runner, in simulated time: exact, immediate and deterministic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "gpubench/request_source.hpp"
#include "gpubench/run.hpp"

namespace gpubench {

// Executes the requests of `source` on `executors` simulated workers. Each batch takes the next
// entry of `service_ns`, in the order of departure. The clock starts at 0 and the harness takes no
// time, so every time stamp is what an ideal harness would measure. At one point in time all
// completions are handled before all departures. If several workers are free, the one that became
// free last takes the next batch.
//
// A live queue must be filled beforehand, and closed if the run is to finish. When nothing can
// happen any more, the run ends with the reason stopped.
//
// `stop`, if given, is called every few thousand requests. When it returns true, the run ends with
// the reason stopped. An exception of `stop` leaves simulate(), and the source is free again.
//
// Throws invalid_argument for bad options or service times, if there is no executor, if the source
// is in use, if executors and batches do not fit into memory, and if the simulated clock passes
// 4e18 ns.
[[nodiscard]] outcome simulate(request_source& source, std::size_t executors,
                               const std::vector<std::int64_t>& service_ns,
                               const run_options& options, const std::function<bool()>& stop = {});

}  // namespace gpubench
