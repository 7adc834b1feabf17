#include "gpubench/cuda/calibrate.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "cuda/event.hpp"
#include "cuda/spin_kernel.hpp"
#include "gpubench/clock.hpp"
#include "gpubench/cuda/buffers.hpp"
#include "gpubench/cuda/error.hpp"
#include "gpubench/error.hpp"

namespace gpubench::cuda {
namespace {

constexpr std::int64_t longest_ns = 10'000'000'000;
constexpr std::int64_t most_repeats = 100'000;

// If a kernel takes this much longer than requested, it is considered hung.
constexpr std::int64_t deadline_ns = 10'000'000'000;

// A kernel of this length keeps the device busy while the host enqueues the two events and the
// kernel between them. Otherwise the time between the events would include the launch by the host.
constexpr std::int64_t lead_kernel_ns = 200'000;

// Enough ticks that at least one of them is not disturbed.
constexpr int tick_count = 100;

std::int64_t median(std::vector<std::int64_t> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

struct measured {
  std::int64_t event_ns;
  std::int64_t kernel_ns;  // 0 for the empty kernel
};

// A stream with two events and the spin kernel between them.
class event_bench {
 public:
  explicit event_bench(int device)
      : device_(std::make_shared<const context>(device)),
        current_(*device_),
        stream_(device_),
        before_(device_),
        after_(device_),
        kernel_(device_),
        times_(device, 2 * sizeof(spin_times)),
        read_(device, sizeof(spin_times)) {}

  std::int64_t tick_ns() {
    std::int64_t shortest_ns = longest_ns;
    for (int i = 0; i < tick_count; ++i) shortest_ns = std::min(shortest_ns, spin(1).kernel_ns);
    return shortest_ns;
  }

  measured spin(std::int64_t length_ns) {
    record_around(length_ns);
    load_driver().cuMemcpyDtoHAsync(read_.data(), times_.address(), sizeof(spin_times),
                                    stream_.handle());
    wait(length_ns);
    const auto& times = *reinterpret_cast<const spin_times*>(read_.data());
    return {elapsed_ns(before_, after_), static_cast<std::int64_t>(times.last_ns - times.first_ns)};
  }

  std::int64_t empty_ns() {
    record_around(std::nullopt);
    wait(0);
    return elapsed_ns(before_, after_);
  }

 private:
  void record_around(std::optional<std::int64_t> length_ns) {
    kernel_.launch(stream_, lead_kernel_ns, times_.address() + sizeof(spin_times));
    before_.record(stream_);
    if (length_ns) {
      kernel_.launch(stream_, static_cast<std::uint64_t>(*length_ns), times_.address());
    } else {
      kernel_.launch_empty(stream_);
    }
    after_.record(stream_);
  }

  void wait(std::int64_t length_ns) {
    const std::int64_t until_ns = now_ns() + length_ns + deadline_ns;
    while (!stream_.idle()) {
      if (now_ns() > until_ns) {
        throw not_responding("the device did not end a kernel of " + std::to_string(length_ns) +
                             " ns within 10 s; look for other processes on it, or reset it");
      }
      relax();
    }
  }

  const shared_context device_;
  const current_context current_;
  stream stream_;
  event before_;
  event after_;
  spin_kernel kernel_;
  device_buffer times_;  // of the kernel between the events, and of the lead kernel
  pinned_buffer read_;
};

void check_arguments(const std::vector<std::int64_t>& lengths_ns, std::int64_t repeats) {
  if (lengths_ns.empty()) {
    throw invalid_argument("lengths_ns is empty; give at least one length in nanoseconds");
  }
  for (const std::int64_t length : lengths_ns) {
    if (length < 1 || length > longest_ns) {
      throw invalid_argument("lengths_ns holds " + std::to_string(length) +
                             "; give lengths from 1 ns to 10 s");
    }
  }
  if (repeats < 1 || repeats > most_repeats) {
    throw invalid_argument("repeats is " + std::to_string(repeats) + "; give 1 to 100000");
  }
}

}  // namespace

std::vector<event_check> check_event_clock(int device, const std::vector<std::int64_t>& lengths_ns,
                                           std::int64_t repeats) {
  check_arguments(lengths_ns, repeats);
  require_device(device);
  event_bench bench(device);
  const auto count = static_cast<std::size_t>(repeats);
  bench.spin(lead_kernel_ns);  // the first launch of a kernel loads it
  bench.empty_ns();

  const std::int64_t tick_ns = bench.tick_ns();
  std::vector<std::int64_t> empties(count);
  for (std::int64_t& each : empties) each = bench.empty_ns();
  const std::int64_t empty_ns = median(empties);

  std::vector<event_check> checks;
  for (const std::int64_t length_ns : lengths_ns) {
    std::vector<std::int64_t> events;
    std::vector<std::int64_t> kernels;
    std::vector<std::int64_t> errors;
    for (std::size_t i = 0; i < count; ++i) {
      const measured one = bench.spin(length_ns);
      events.push_back(one.event_ns);
      kernels.push_back(one.kernel_ns);
      errors.push_back(one.event_ns - empty_ns - one.kernel_ns);
    }
    const auto farthest =
        std::max_element(errors.begin(), errors.end(),
                         [](std::int64_t a, std::int64_t b) { return std::abs(a) < std::abs(b); });
    checks.push_back(
        {length_ns, median(kernels), median(events), empty_ns, tick_ns, median(errors), *farthest});
  }
  return checks;
}

}  // namespace gpubench::cuda
