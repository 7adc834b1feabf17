#include "gpubench/batching.hpp"

#include <string>

#include "gpubench/error.hpp"

namespace gpubench {

void check(const batching& rule) {
  if (rule.max_batch == 0) {
    throw invalid_argument("max_batch is 0; a batch has at least 1 request");
  }
  if (rule.max_delay_ns < 0 || rule.max_delay_ns > longest_span_ns) {
    throw invalid_argument("max_delay_ns is " + std::to_string(rule.max_delay_ns) +
                           "; give a time from 0 to 1e18 ns");
  }
  if (rule.max_delay_ns > 0 && rule.max_batch == 1) {
    throw invalid_argument(
        "max_delay_ns without max_batch delays every request for nothing; set max_batch to 2 or "
        "more, or max_delay_ns to 0");
  }
}

}  // namespace gpubench
