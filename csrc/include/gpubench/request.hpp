// A request as it waits in the queue and as it is written into the timeline.
#pragma once

#include <cstdint>

namespace gpubench {

struct request {
  std::int64_t scheduled_ns = 0;  // when it is, or was, due
  std::int64_t id = 0;  // place on the schedule (open loop), client (closed loop), caller's (live)
};

}  // namespace gpubench
