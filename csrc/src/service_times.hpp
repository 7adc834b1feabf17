// The check of a table of service times, which executors and the simulation share.
#pragma once

#include <cstdint>
#include <vector>

namespace gpubench {

// Throws invalid_argument unless the table has an entry, and every entry is a time span from 0 to
// longest_span_ns.
void check_service_times(const std::vector<std::int64_t>& service_ns);

}  // namespace gpubench
