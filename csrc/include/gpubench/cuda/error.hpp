// Errors of GPUs.
#pragma once

#include <stdexcept>
#include <string>

namespace gpubench::cuda {

// A call of the driver failed: "cuGraphLaunch: CUDA_ERROR_LAUNCH_FAILED (719): unspecified launch
// failure".
class cuda_error : public std::runtime_error {
 public:
  cuda_error(std::string call, int code, std::string name, std::string text);

  const std::string& call() const noexcept { return call_; }  // "cuGraphLaunch"
  int code() const noexcept { return code_; }                 // 719
  const std::string& name() const noexcept { return name_; }  // "CUDA_ERROR_LAUNCH_FAILED"
  const std::string& text() const noexcept { return text_; }  // "unspecified launch failure"

 private:
  std::string call_;
  int code_;
  std::string name_;
  std::string text_;
};

// No GPU can be used. what() is one line with the cause and the remedy.
class unavailable : public std::runtime_error {
 public:
  enum class reason {
    no_driver,       // there is no libcuda.so.1
    driver_too_old,  // older than CUDA 12.0
    no_device,       // the machine has no GPU, or none with this number
    driver_error,    // the driver reports an error when it is initialised
  };

  unavailable(reason why, const std::string& message) : std::runtime_error(message), why_(why) {}
  reason why() const noexcept { return why_; }

 private:
  reason why_;
};

// "no-driver", "driver-too-old", "no-device", "driver-error"
const char* to_string(unavailable::reason why) noexcept;

// The device did not finish within 10 s what normally takes microseconds.
class not_responding : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace gpubench::cuda
