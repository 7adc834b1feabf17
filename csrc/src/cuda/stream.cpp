#include "cuda/stream.hpp"

namespace gpubench::cuda {
namespace {

CUstream_st* make_stream(const context& on) {
  const current_context current(on);
  CUstream_st* made = nullptr;
  load_driver().cuStreamCreate(&made, stream_non_blocking);
  return made;
}

}  // namespace

stream::stream(const shared_context& on) : handle_(on, make_stream(*on)) {}

bool stream::idle() const {
  const driver& api = load_driver();
  const int code = api.cuStreamQuery.attempt(handle());
  if (code != success && code != not_ready) throw_cuda_error(api.cuStreamQuery.name(), code);
  return code == success;
}

}  // namespace gpubench::cuda
