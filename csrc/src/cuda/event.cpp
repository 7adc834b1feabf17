#include "cuda/event.hpp"

#include <cmath>

namespace gpubench::cuda {
namespace {

CUevent_st* make_event(const context& in_context) {
  const current_context current(in_context);
  CUevent_st* made = nullptr;
  load_driver().cuEventCreate(&made, event_with_timing);
  return made;
}

}  // namespace

event::event(const shared_context& in_context) : handle_(in_context, make_event(*in_context)) {}

void event::record(const stream& on_stream) const {
  load_driver().cuEventRecord(handle(), on_stream.handle());
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
