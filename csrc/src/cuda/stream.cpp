#include "cuda/stream.hpp"

namespace gpubench::cuda {
namespace {

CUstream_st* make_stream(const context& in_context) {
  const current_context current(in_context);
  CUstream_st* made = nullptr;
  load_driver().cuStreamCreate(&made, stream_non_blocking);
  return made;
}

}  // namespace

stream::stream(const shared_context& in_context) : handle_(in_context, make_stream(*in_context)) {}

bool stream::idle() const {
  const driver& api = load_driver();
  const int code = api.cuStreamQuery.attempt(handle());
  if (code != success && code != not_ready) throw_cuda_error(api.cuStreamQuery.name(), code);
  return code == success;
}

}  // namespace gpubench::cuda
