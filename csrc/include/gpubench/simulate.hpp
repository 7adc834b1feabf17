// The runner's twin in simulated time: exact, instant, deterministic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "gpubench/request_source.hpp"
#include "gpubench/run.hpp"

namespace gpubench {

// Drives `source` through `executors` workers. Batches take the entries of `service_ns` in turn, in
// the order of their departure. The clock starts at 0 and the harness takes no time: every stamp is
// what an ideal harness would measure. At one instant all completions come before all departures;
// of several free workers, the one that became free last departs first.
//
// A live queue must be filled, and closed if the run is to finish, beforehand: where nothing is
// left to happen, the run ends as stopped.
//
// `stop`, where it is given, is asked every few thousand requests: the run ends as stopped once it
// answers true, and simulate() throws what it throws. The source is free again then.
//
// Throws invalid_argument for bad options or service times, no executor, a source in use, more
// executors and larger batches than memory allows, and when the simulated clock passes 4e18 ns.
[[nodiscard]] outcome simulate(request_source& source, std::size_t executors,
                               const std::vector<std::int64_t>& service_ns,
                               const run_options& options, const std::function<bool()>& stop = {});

}  // namespace gpubench
