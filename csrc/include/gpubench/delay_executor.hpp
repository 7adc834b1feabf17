// An executor with known service times and without a model: it is used to test everything else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gpubench/executor.hpp"

namespace gpubench {

// Each batch takes the next entry of `service_ns`, whatever its size. After the last entry the
// table starts again; a new run continues where the last one ended. A service time of 0 is the null
// system: it measures the harness alone.
class delay_executor final : public executor {
 public:
  enum class delay { spin, sleep };  // what the worker's thread does during a service time

  // Throws invalid_argument if the table is empty, or a time is negative or over longest_span_ns.
  explicit delay_executor(std::vector<std::int64_t> service_ns, delay how = delay::spin);
  explicit delay_executor(std::int64_t service_ns, delay how = delay::spin)
      : delay_executor(std::vector<std::int64_t>{service_ns}, how) {}

  batch_state start(std::size_t slot, const batch_view& batch) noexcept override;

 private:
  std::vector<std::int64_t> service_ns_;
  std::size_t next_ = 0;
  delay how_;
};

}  // namespace gpubench
