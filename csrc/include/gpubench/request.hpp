// A request, as it is stored in the queue and in the timeline.
#pragma once

#include <cstdint>

namespace gpubench {

struct request {
  std::int64_t scheduled_ns = 0;  // the due time

  // Index in the schedule (open loop), number of the client (closed loop), or the caller's own id
  // (live queue).
  std::int64_t id = 0;
};

}  // namespace gpubench
