#include "gpubench/cuda/device.hpp"

#include <cstdio>

#include "cuda/driver_api.hpp"
#include "gpubench/cuda/driver.hpp"
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

int device_count() {
  int count = 0;
  load_driver().cuDeviceGetCount(&count);
  return count;
}

}  // namespace

std::vector<device_info> devices() {
  const driver& api = load_driver();
  std::vector<device_info> found;
  const int count = device_count();
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

void require_device(int device) {
  const int count = device_count();
  if (device >= 0 && device < count) return;
  const std::string there = count == 1 ? "cuda:0" : "cuda:0 to cuda:" + std::to_string(count - 1);
  throw unavailable(unavailable::reason::no_device,
                    "cuda:" + std::to_string(device) + " is not there; this machine has " + there);
}

}  // namespace gpubench::cuda
