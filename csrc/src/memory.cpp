#include "memory.hpp"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include "gpubench/error.hpp"

namespace gpubench {
namespace {

struct closes_file {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};

// C's files, not C++'s streams: where libstdc++ is linked statically into one library and shared by
// another, the streams of the two get in each other's way.
std::unique_ptr<std::FILE, closes_file> opened(const char* path) {
  return std::unique_ptr<std::FILE, closes_file>(std::fopen(path, "re"));
}

std::optional<double> number_in(const char* path) {
  const auto file = opened(path);
  unsigned long long number;
  if (file && std::fscanf(file.get(), "%llu", &number) == 1) return static_cast<double>(number);
  return std::nullopt;  // absent, or "max"
}

std::optional<double> available_on_machine() {
  const auto file = opened("/proc/meminfo");
  if (!file) return std::nullopt;
  char line[256];
  unsigned long long kilobytes;
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
