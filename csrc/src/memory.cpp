#include "memory.hpp"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include "gpubench/error.hpp"

namespace gpubench {
namespace {

struct file_closer {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};

// Uses files of C, not streams of C++: if one library links libstdc++ statically and another one
// links it dynamically, the two copies share the state of their streams, which crashes.
std::unique_ptr<std::FILE, file_closer> open_file(const char* path) {
  return std::unique_ptr<std::FILE, file_closer>(std::fopen(path, "re"));
}

std::optional<double> number_in(const char* path) {
  const auto file = open_file(path);
  unsigned long long number = 0;
  if (file && std::fscanf(file.get(), "%llu", &number) == 1) return static_cast<double>(number);
  return std::nullopt;  // there is no such file, or it says "max"
}

std::optional<double> available_on_machine() {
  const auto file = open_file("/proc/meminfo");
  if (!file) return std::nullopt;
  char line[256];
  unsigned long long kilobytes = 0;
  while (std::fgets(line, sizeof line, file.get()) != nullptr) {
    if (std::sscanf(line, "MemAvailable: %llu", &kilobytes) == 1) {
      return static_cast<double>(kilobytes) * 1024;
    }
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
