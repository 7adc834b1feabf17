#include "cuda/event.hpp"

#include <cmath>

namespace gpubench::cuda {
namespace {

CUevent_st* make_event(const context& on) {
  const current_context current(on);
  CUevent_st* made = nullptr;
  load_driver().cuEventCreate(&made, event_with_timing);
  return made;
}

}  // namespace

event::event(const shared_context& on) : handle_(on, make_event(*on)) {}

void event::record(const stream& on) const {
  load_driver().cuEventRecord(handle(), on.handle());
}

bool event::passed() const {
  const driver& api = load_driver();
  const int code = api.cuEventQuery.attempt(handle());
  if (code != success && code != not_ready) throw_cuda_error(api.cuEventQuery.name(), code);
  return code == success;
}

std::int64_t elapsed_ns(const event& from, const event& to) {
  float elapsed_ms = 0;
  load_driver().cuEventElapsedTime(&elapsed_ms, from.handle(), to.handle());
  return std::llround(static_cast<double>(elapsed_ms) * 1e6);
}

}  // namespace gpubench::cuda
