// The spin kernel and the check of the event clock, on the fake driver.
#include "gpubench/cuda/calibrate.hpp"

#include <cstdlib>
#include <cstring>
#include <memory>

#include "check.hpp"
#include "cuda/spin_kernel.hpp"
#include "fake_cuda_driver.hpp"
#include "gpubench/cuda/buffers.hpp"
#include "gpubench/cuda/error.hpp"
#include "gpubench/error.hpp"

using namespace gpubench;
using namespace gpubench::cuda;

namespace {

void the_kernel_stores_what_the_timer_showed() {
  const auto device = std::make_shared<const context>(0);
  const current_context current(*device);
  const stream on(device);
  const spin_kernel kernel(device);
  const device_buffer shown(0, sizeof(spin_times));
  const pinned_buffer read(0, sizeof(spin_times));
  kernel.launch_empty(on);
  kernel.launch(on, 250'000, shown.address());
  load_driver().cuMemcpyDtoHAsync(read.data(), shown.address(), sizeof(spin_times), on.handle());
  while (!on.idle()) continue;
  spin_times times;
  std::memcpy(&times, read.data(), sizeof times);
  const auto passed = static_cast<std::int64_t>(times.last_ns - times.first_ns);
  CHECK(std::abs(passed - 250'000) <= 100);  // the fake device's clock drifts
}

void events_agree_with_the_kernel() {
  fake_cuda_set("event_tick_ns", 500);
  const auto checks = check_event_clock(0, {10'000, 1'000'000, 5'000'000}, 15);
  CHECK(checks.size() == 3);
  for (const event_check& each : checks) {
    CHECK(each.tick_ns <= 2 && each.empty_ns <= 500);
    CHECK(std::abs(each.kernel_ns - each.length_ns) <= each.length_ns / 1000 + 1);
    CHECK(std::abs(each.error_ns) <= 1000);
    CHECK(std::abs(each.error_ns) <= std::abs(each.largest_error_ns));
    CHECK(std::abs(each.event_ns - each.empty_ns - each.kernel_ns) <= 1000);
  }
  CHECK(checks[2].length_ns == 5'000'000);
  fake_cuda_reset();
}

void coarse_events_are_seen() {
  fake_cuda_set("event_tick_ns", 100'000);
  const auto checks = check_event_clock(0, {30'000}, 20);
  CHECK(checks.size() == 1 && std::abs(checks[0].largest_error_ns) >= 30'000);
  fake_cuda_reset();
}

void arguments_are_checked() {
  const auto refused = [](std::vector<std::int64_t> lengths, std::int64_t repeats) {
    return message_of<invalid_argument>([&] { return check_event_clock(0, lengths, repeats); });
  };
  CHECK(refused({}, 1) == "lengths_ns is empty; give at least one length in nanoseconds");
  CHECK(refused({1000, 0}, 1) == "lengths_ns holds 0; give lengths from 1 ns to 10 s");
  CHECK(refused({1000}, 0) == "repeats is 0; give 1 to 100000");
  message_of<unavailable>([] { return check_event_clock(7, {1000}, 1); });
}

void a_failure_is_reported_and_nothing_leaks() {
  fake_cuda_set("launch_fails_at", 20);
  const std::string error = message_of<cuda_error>([] { return check_event_clock(0, {1000}, 5); });
  CHECK(error.find("cuLaunchKernel") == 0);
  fake_cuda_reset();
  CHECK(fake_cuda_get("live") == 0);
}

}  // namespace

int main() {
  return run_tests(TEST(the_kernel_stores_what_the_timer_showed),
                   TEST(events_agree_with_the_kernel), TEST(coarse_events_are_seen),
                   TEST(arguments_are_checked), TEST(a_failure_is_reported_and_nothing_leaks));
}
