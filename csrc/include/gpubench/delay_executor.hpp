// An executor with a known service time and no model: what everything else is proven with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gpubench/executor.hpp"

namespace gpubench {

// Takes the entries of `service_ns` in turn, one a batch, whatever the batch's size, and goes on
// with the next entry in the next run. A service time of 0 is the null system: it shows the harness
// alone.
class delay_executor final : public executor {
 public:
  enum class passing { spin, sleep };  // what the thread does meanwhile

  // Throws invalid_argument for an empty table and for times that are negative or absurdly long.
  explicit delay_executor(std::vector<std::int64_t> service_ns, passing how = passing::spin);
  explicit delay_executor(std::int64_t service_ns, passing how = passing::spin)
      : delay_executor(std::vector<std::int64_t>{service_ns}, how) {}

  batch_state start(std::size_t slot, const batch_view& batch) noexcept override;

 private:
  std::vector<std::int64_t> service_ns_;
  std::size_t next_ = 0;
  passing how_;
};

}  // namespace gpubench
