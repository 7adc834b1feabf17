#include "gpubench/cuda/device.hpp"

#include <cstdio>

#include "cuda/driver.hpp"
#include "cuda/driver_api.hpp"
#include "gpubench/cuda/error.hpp"

namespace gpubench::cuda {
namespace {

// "GPU-5f1a2b3c-...", as nvidia-smi prints it.
std::string printed(const device_uuid& uuid) {
  std::string text = "GPU";
  for (int i = 0; i < 16; ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(uuid.bytes[i]));
    text += digits;
  }
  return text;
}

}  // namespace

std::vector<device_info> devices() {
  const driver& api = load_driver();
  std::vector<device_info> found;
  int count = 0;
  api.cuDeviceGetCount(&count);
  for (int i = 0; i < count; ++i) {
    device_info each;
    each.index = i;
    int device = 0;
    api.cuDeviceGet(&device, i);
    char text[256] = "";
    api.cuDeviceGetName(text, sizeof text, device);
    each.name = text;
    api.cuDeviceGetAttribute(&each.major, compute_capability_major, device);
    api.cuDeviceGetAttribute(&each.minor, compute_capability_minor, device);
    api.cuDeviceTotalMem(&each.memory_bytes, device);
    device_uuid uuid{};
    api.cuDeviceGetUuid(&uuid, device);
    each.uuid = printed(uuid);
    api.cuDeviceGetPCIBusId(text, sizeof text, device);
    each.pci_bus_id = text;
    found.push_back(std::move(each));
  }
  return found;
}

int driver_version() {
  return load_driver().version();
}

}  // namespace gpubench::cuda
