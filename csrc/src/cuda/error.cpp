#include "gpubench/cuda/error.hpp"

#include <utility>

namespace gpubench::cuda {

cuda_error::cuda_error(std::string call, int code, std::string name, std::string text)
    : std::runtime_error(call + ": " + name + " (" + std::to_string(code) + "): " + text),
      call_(std::move(call)),
      code_(code),
      name_(std::move(name)),
      text_(std::move(text)) {}

const char* to_string(unavailable::reason why) noexcept {
  switch (why) {
    case unavailable::reason::no_driver:
      return "no-driver";
    case unavailable::reason::driver_too_old:
      return "driver-too-old";
    case unavailable::reason::no_device:
      return "no-device";
    case unavailable::reason::driver_error:
      return "driver-error";
  }
  return "";
}

}  // namespace gpubench::cuda
