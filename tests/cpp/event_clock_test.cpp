// Device time stamps on the host's clock: the order of events holds, the true times are within the
// reported width, and durations do not change.
#include "gpubench/cuda/event_clock.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <vector>

#include "check.hpp"

using namespace gpubench;
using namespace gpubench::cuda;

namespace {

using random_source = std::mt19937_64;

constexpr std::int64_t second = 1'000'000'000;

std::int64_t between(random_source& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

// A delay by a scheduler: mostly short, sometimes very long.
std::int64_t delay(random_source& random, std::int64_t least, double mean) {
  const double exponential = std::exponential_distribution<double>(1 / mean)(random);
  const double hiccup = between(random, 0, 99) == 0 ? 100 : 1;
  return least + static_cast<std::int64_t>(exponential * hiccup);
}

// The clock of a device, exact to a nanosecond: device = (host - zero) (1 - drift), in steps of
// `resolution_ns`.
struct device_clock {
  std::int64_t zero_ns;
  double drift;
  std::int64_t resolution_ns;

  std::int64_t shows(std::int64_t host_ns) const {
    const std::int64_t passed = host_ns - zero_ns;
    const std::int64_t exact = passed - std::llround(drift * static_cast<double>(passed));
    return exact / resolution_ns * resolution_ns;
  }
};

struct recorded_run {
  std::vector<batch_record> batches;
  std::vector<device_stamps> true_host_ns;
  std::vector<device_stamps> device_ns;
  std::vector<clock_anchor> anchors;
};

clock_anchor take_anchor(const device_clock& clock, random_source& random, std::int64_t host_ns) {
  const std::int64_t event_ns = host_ns + delay(random, 5, 4000);
  return {clock.shows(event_ns), host_ns, event_ns + delay(random, 5, 6000)};
}

// Up to two batches are in flight. So their intervals on the device overlap, and they can complete
// in another order than that of submission.
recorded_run record(random_source& random, const device_clock& clock, std::size_t count,
                    std::int64_t start_ns, double mean_service_ns, double mean_pause_ns) {
  recorded_run run;
  std::int64_t host_ns = start_ns;
  run.anchors.push_back(take_anchor(clock, random, host_ns));
  host_ns = run.anchors.back().after_ns;
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t submitted = host_ns;
    device_stamps at;
    at[0] = submitted + delay(random, 5, 5000);
    at[1] = at[0] + delay(random, 0, mean_service_ns / 10);
    at[2] = at[1] + delay(random, 0, mean_service_ns);
    at[3] = at[2] + delay(random, 0, mean_service_ns / 20);
    const std::int64_t completed = at[3] + delay(random, 5, 2000);
    run.batches.push_back({submitted, submitted, submitted, completed, 0, 1});
    run.true_host_ns.push_back(at);
    device_stamps shown;
    std::transform(at.begin(), at.end(), shown.begin(),
                   [&](std::int64_t moment) { return clock.shows(moment); });
    run.device_ns.push_back(shown);
    const bool overlaps = between(random, 0, 1) == 0;
    host_ns = (overlaps ? at[0] : completed) + delay(random, 1, mean_pause_ns);
  }
  for (const batch_record& each : run.batches) host_ns = std::max(host_ns, each.completed_ns);
  run.anchors.push_back(take_anchor(clock, random, host_ns));
  return run;
}

device_clock any_clock(random_source& random, std::int64_t resolution_ns) {
  const double drift = std::uniform_real_distribution<double>(-4e-4, 4e-4)(random);
  return {between(random, -100'000 * second, 100'000 * second), drift, resolution_ns};
}

void check_causality(const recorded_run& run, const std::vector<device_stamps>& placed) {
  for (std::size_t i = 0; i < placed.size(); ++i) {
    CHECK(run.batches[i].submitted_ns <= placed[i][0]);
    CHECK(placed[i][3] <= run.batches[i].completed_ns);
    CHECK(std::is_sorted(placed[i].begin(), placed[i].end()));
  }
}

void true_times_are_within_the_width() {
  random_source random(1);
  for (int round = 0; round < 3000; ++round) {
    const device_clock clock = any_clock(random, 1);
    const auto count = static_cast<std::size_t>(between(random, 0, 60));
    const double mean_service_ns = std::pow(10, between(random, 2, 8));
    const double mean_pause_ns = std::pow(10, between(random, 1, 10));
    const recorded_run run = record(random, clock, count, between(random, 0, 1'000'000 * second),
                                    mean_service_ns, mean_pause_ns);
    auto placed = run.device_ns;
    const auto fit =
        place_on_host_clock(run.batches.data(), placed.data(), placed.size(), run.anchors);
    CHECK(fit && fit->width_ns);
    if (!fit || !fit->width_ns) return;
    CHECK(fit->contradiction_ns == 0 && fit->squeezed_batches == 0);
    CHECK(fit->largest_shift_ns <= 1);  // rounding
    check_causality(run, placed);
    for (std::size_t i = 0; i < placed.size(); ++i) {
      for (std::size_t k = 0; k < 4; ++k) {
        CHECK(std::abs(placed[i][k] - run.true_host_ns[i][k]) <= *fit->width_ns + 3);
      }
    }
    for (const clock_anchor& each : run.anchors) {
      const std::int64_t host_ns = fit->line.host_ns(each.device_ns);
      CHECK(each.before_ns - 1 <= host_ns && host_ns <= each.after_ns + 1);
    }
  }
}

void durations_are_those_of_the_line_whatever_is_shifted() {
  random_source random(2);
  std::size_t shifted = 0;
  for (int round = 0; round < 2000; ++round) {
    const device_clock clock = any_clock(random, 512);  // the resolution of events
    const recorded_run run = record(random, clock, 40, between(random, 0, 1000 * second),
                                    std::pow(10, between(random, 2, 7)), 1e5);
    auto placed = run.device_ns;
    const auto fit =
        place_on_host_clock(run.batches.data(), placed.data(), placed.size(), run.anchors);
    CHECK(fit.has_value());
    if (!fit) return;
    check_causality(run, placed);
    CHECK(fit->contradiction_ns <= 512 && fit->largest_squeeze_ns <= 512 + 1);
    CHECK(fit->largest_shift_ns <= fit->contradiction_ns + 1);
    std::size_t changed = 0;
    for (std::size_t i = 0; i < placed.size(); ++i) {
      const std::int64_t start = fit->line.host_ns(run.device_ns[i][0]);
      bool same = true;
      for (std::size_t k = 1; k < 4; ++k) {
        const std::int64_t length = fit->line.host_ns(run.device_ns[i][k]) - start;
        same = same && placed[i][k] - placed[i][0] == length;
      }
      changed += !same;
    }
    CHECK(changed <= fit->squeezed_batches);
    shifted += fit->shifted_batches;
  }
  CHECK(shifted > 0);
}

void drift_of_a_long_run_is_found() {
  random_source random(3);
  for (const double drift : {-2e-4, -1e-6, 0.0, 3e-5}) {
    const device_clock clock{-7 * second, drift, 1};
    const recorded_run run = record(random, clock, 5000, 3600 * second, 1e5, 1e9);  // over an hour
    auto placed = run.device_ns;
    const auto fit =
        place_on_host_clock(run.batches.data(), placed.data(), placed.size(), run.anchors);
    CHECK(fit && fit->width_ns && *fit->width_ns < 1000);
    // The drifts of the two clocks are equal up to second-order terms, which are below a
    // thousandth.
    if (fit) CHECK(std::abs(fit->drift_ppm - drift * 1e6) < 1e-3 * std::abs(drift) * 1e6 + 1e-3);
  }
}

// The expected result, found by trying every pair of constraints: each corner of the set of lines
// that satisfy all constraints is on two of them.
struct reference {
  double width = -1;  // negative: no line satisfies all constraints
  double contradiction = 0;
};

reference try_all(const recorded_run& run) {
  struct bound {
    double at, offset;
    bool lower;
  };
  std::vector<bound> bounds;
  const auto add = [&](std::int64_t device_ns, std::int64_t host_ns, bool lower) {
    bounds.push_back(
        {static_cast<double>(device_ns), static_cast<double>(host_ns - device_ns), lower});
  };
  for (std::size_t i = 0; i < run.batches.size(); ++i) {
    add(run.device_ns[i][0], run.batches[i].submitted_ns, true);
    add(run.device_ns[i][3], run.batches[i].completed_ns, false);
  }
  const double most = largest_drift_ppm * 1e-6;
  const auto room = [&](double drift) {
    double bottom = -1e300;
    double top = 1e300;
    for (const bound& each : bounds) {
      const double offset = each.offset - drift * each.at;
      if (each.lower) bottom = std::max(bottom, offset);
      if (!each.lower) top = std::min(top, offset);
    }
    return std::make_pair(bottom, top);
  };
  // These drifts include all corners of the height as a function of the drift, and all its zeros.
  std::vector<double> drifts{-most, most};
  for (const bound& a : bounds) {
    for (const bound& b : bounds) {
      const double drift = (a.offset - b.offset) / (a.at - b.at);
      if (a.at != b.at && std::abs(drift) <= most) drifts.push_back(drift);
    }
  }
  double first = bounds[0].at;
  double last = first;
  for (const bound& each : bounds) {
    first = std::min(first, each.at);
    last = std::max(last, each.at);
  }
  reference best;
  double highest = -1e300;
  double low[2] = {1e300, 1e300};
  double high[2] = {-1e300, -1e300};
  for (const double drift : drifts) {
    const auto [bottom, top] = room(drift);
    highest = std::max(highest, top - bottom);
    if (top - bottom < -1e-6) continue;
    for (const int end : {0, 1}) {
      const double at = end == 0 ? first : last;
      low[end] = std::min(low[end], bottom + drift * at);
      high[end] = std::max(high[end], top + drift * at);
    }
  }
  if (highest >= -1e-6) {
    best.width = std::max(high[0] - low[0], high[1] - low[1]);
  } else {
    best.contradiction = -highest / 2;
  }
  return best;
}

void width_and_contradiction_equal_those_of_every_pair_of_constraints() {
  random_source random(4);
  int contradictory = 0;
  for (int round = 0; round < 5000; ++round) {
    recorded_run run;
    const std::int64_t slack = between(random, -200, 2000);
    const auto count = static_cast<std::size_t>(between(random, 1, 6));
    for (std::size_t i = 0; i < count; ++i) {
      const std::int64_t device_ns = between(random, 0, 2'000'000);
      const std::int64_t length = between(random, 0, 1000);
      const std::int64_t submitted = device_ns - between(random, slack - 300, slack);
      const std::int64_t completed =
          std::max(submitted, device_ns + length + between(random, slack - 300, slack));
      run.batches.push_back({0, 0, submitted, completed, 0, 1});
      run.device_ns.push_back({device_ns, device_ns, device_ns, device_ns + length});
    }
    const reference expected = try_all(run);
    auto placed = run.device_ns;
    const auto fit = place_on_host_clock(run.batches.data(), placed.data(), placed.size(), {});
    CHECK(fit.has_value());
    if (!fit) return;
    check_causality(run, placed);
    CHECK(fit->width_ns.has_value() == (expected.width >= 0));
    if (fit->width_ns) {
      CHECK(std::abs(static_cast<double>(*fit->width_ns) - expected.width) <= 1.01);
      CHECK(fit->contradiction_ns == 0 && fit->largest_shift_ns <= 1);
    } else {
      ++contradictory;
      const auto found = static_cast<double>(fit->contradiction_ns);
      CHECK(std::abs(found - expected.contradiction) <= 1.01);
      CHECK(fit->largest_shift_ns <= fit->contradiction_ns + 1);
    }
  }
  CHECK(contradictory > 100);
}

void nothing_to_place() {
  CHECK(!place_on_host_clock(nullptr, nullptr, 0, {}));
}

void anchors_alone_give_a_line() {
  const auto fit =
      place_on_host_clock(nullptr, nullptr, 0, {{1000, 5000, 5010}, {2000, 6000, 6010}});
  CHECK(fit && fit->width_ns && fit->line.host_ns(1500) == 5505);
  if (fit && fit->width_ns) CHECK(*fit->width_ns == 10);
}

void one_batch_is_centred() {
  const batch_record batch{0, 0, 1000, 2000, 0, 1};
  device_stamps stamps{50, 60, 150, 250};
  const auto fit = place_on_host_clock(&batch, &stamps, 1, {});
  CHECK((stamps == device_stamps{1400, 1410, 1500, 1600}));
  CHECK(fit && fit->width_ns && *fit->width_ns >= 800 && *fit->width_ns <= 802);
  CHECK(fit && fit->drift_ppm == 0 && fit->shifted_batches == 0);
}

void a_batch_longer_than_the_host_saw_is_shortened() {
  const batch_record batch{0, 0, 1000, 2000, 0, 1};
  device_stamps stamps{0, 400, 1600, 2000};
  const auto fit = place_on_host_clock(&batch, &stamps, 1, {});
  CHECK((stamps == device_stamps{1000, 1200, 1800, 2000}));
  CHECK(fit && !fit->width_ns && fit->squeezed_batches == 1 && fit->shifted_batches == 0);
  // The drift is at its limit. 998 ns remain to be shortened, half of them at each end.
  CHECK(fit && fit->largest_squeeze_ns == 998 && fit->contradiction_ns == 499);
}

void a_clock_that_jumps_gives_a_contradiction() {
  std::vector<batch_record> batches;
  std::vector<device_stamps> stamps;
  for (std::int64_t i = 0; i < 100; ++i) {
    const std::int64_t start = i * second;
    batches.push_back({start, start, start, start + 1000, 0, 1});
    const std::int64_t jump = i < 50 ? 0 : second / 100;
    stamps.push_back({start + jump, start + jump, start + jump + 900, start + jump + 1000});
  }
  const auto fit = place_on_host_clock(batches.data(), stamps.data(), stamps.size(), {});
  CHECK(fit && !fit->width_ns && fit->contradiction_ns > second / 1000);
  CHECK(fit && fit->shifted_batches > 50);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    CHECK(stamps[i][0] == batches[i].submitted_ns && stamps[i][3] == batches[i].completed_ns);
  }
}

}  // namespace

int main() {
  return run_tests(TEST(true_times_are_within_the_width),
                   TEST(durations_are_those_of_the_line_whatever_is_shifted),
                   TEST(drift_of_a_long_run_is_found),
                   TEST(width_and_contradiction_equal_those_of_every_pair_of_constraints),
                   TEST(nothing_to_place), TEST(anchors_alone_give_a_line),
                   TEST(one_batch_is_centred), TEST(a_batch_longer_than_the_host_saw_is_shortened),
                   TEST(a_clock_that_jumps_gives_a_contradiction));
}
