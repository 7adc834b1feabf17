#include "gpubench/delay_executor.hpp"

#include <string>
#include <utility>

#include "gpubench/clock.hpp"
#include "gpubench/error.hpp"
#include "service_times.hpp"

namespace gpubench {

void check_service_times(const std::vector<std::int64_t>& service_ns) {
  if (service_ns.empty()) {
    throw invalid_argument("service_ns is empty; give at least one service time");
  }
  for (const std::int64_t service : service_ns) {
    if (service < 0 || service > longest_span_ns) {
      throw invalid_argument("service_ns holds " + std::to_string(service) +
                             "; give times from 0 to 1e18 ns");
    }
  }
}

delay_executor::delay_executor(std::vector<std::int64_t> service_ns, delay how)
    : service_ns_(std::move(service_ns)), how_(how) {
  check_service_times(service_ns_);
}

batch_state delay_executor::start(std::size_t, const batch_view& batch) noexcept {
  const std::int64_t service = service_ns_[next_];
  if (++next_ == service_ns_.size()) next_ = 0;
  if (service == 0) return batch_state::complete;
  const std::int64_t end_ns = batch.submitted_ns + service;
  if (how_ == delay::spin) {
    spin_until_ns(end_ns);
  } else {
    sleep_until_ns(end_ns);
  }
  return batch_state::complete;
}

}  // namespace gpubench
