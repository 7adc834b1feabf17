// The GPUs of this machine.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace gpubench::cuda {

struct device_info {
  int index = 0;     // the number in "cuda:0"
  std::string name;  // "NVIDIA A10G"
  int major = 0;     // compute capability, 8.6
  int minor = 0;
  std::size_t memory_bytes = 0;
  std::string uuid;        // "GPU-5f1a...", as nvidia-smi prints it
  std::string pci_bus_id;  // "0000:00:1E.0"
};

// At least one, in the order of the driver, which CUDA_VISIBLE_DEVICES can change. Throws
// unavailable.
std::vector<device_info> devices();

// The CUDA version that the driver was made for: 12080 is CUDA 12.8. Throws unavailable.
int driver_version();

}  // namespace gpubench::cuda
