#include "memory.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <optional>

#include "gpubench/error.hpp"

namespace gpubench {
namespace {

std::optional<double> number_in(const char* path) {
  std::ifstream file(path);
  double number;
  if (file >> number) return number;
  return std::nullopt;  // absent, or "max"
}

std::optional<double> available_on_machine() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  double kilobytes;
  std::string rest;
  while (file >> key >> kilobytes && std::getline(file, rest)) {
    if (key == "MemAvailable:") return kilobytes * 1024;
  }
  return std::nullopt;
}

// https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
std::optional<double> available_in_container() {
  const auto limit = number_in("/sys/fs/cgroup/memory.max");
  const auto used = number_in("/sys/fs/cgroup/memory.current");
  if (limit && used) return std::max(0.0, *limit - *used);
  return std::nullopt;
}

std::string gigabytes(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g GB", bytes / 1e9);
  return text;
}

}  // namespace

void require_memory(std::size_t count, std::size_t bytes_each, const std::string& what,
                    const std::string& fix) {
  const double needed = static_cast<double>(count) * static_cast<double>(bytes_each);
  for (const auto& available : {available_on_machine(), available_in_container()}) {
    if (available && needed > *available) {
      throw invalid_argument(what + " needs " + gigabytes(needed) + " of memory and " +
                             gigabytes(*available) + " are free; " + fix);
    }
  }
}

}  // namespace gpubench
