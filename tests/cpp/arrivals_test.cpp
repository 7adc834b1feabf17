// Schedules: the same on every platform, and at the requested rate.
#include "gpubench/arrivals.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "check.hpp"
#include "gpubench/error.hpp"

using namespace gpubench;

namespace {

using times = std::vector<std::int64_t>;

// These values must never change, on any platform or compiler.
void a_seed_gives_the_same_schedule_everywhere() {
  CHECK((poisson_arrivals(1000, 5, 0) == times{495525, 1486222, 1782605, 3463500, 4870152}));
  CHECK((poisson_arrivals(1000, 5, 42) == times{705323, 895689, 1337035, 2612915, 2719067}));
  CHECK((exponential_service(1e6, 5, 42) == times{1765643, 529151, 918922, 648599, 1137686}));
  const times many = poisson_arrivals(12345.678, 1'000'000, 7);
  std::uint64_t digest = 0;
  for (const std::int64_t due : many) {
    digest = digest * 6364136223846793005 + static_cast<std::uint64_t>(due);
  }
  CHECK(digest == 3279497603226365509U);
}

void regular_schedules_are_exact() {
  CHECK((constant_arrivals(1000, 3) == times{0, 1'000'000, 2'000'000}));
  CHECK((constant_arrivals(3, 4) == times{0, 333'333'333, 666'666'667, 1'000'000'000}));
  CHECK((burst_arrivals(1000, 5, 2) == times{0, 0, 2'000'000, 2'000'000, 4'000'000}));
}

// Given their number, the arrivals of a Poisson process are uniform. Kolmogorov-Smirnov at the 0.1%
// level: 1.95 / sqrt(n).
void poisson_arrivals_are_sorted_and_uniform_over_their_span() {
  const std::size_t count = 100'000;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const times due = poisson_arrivals(5000, count, seed);
    CHECK(due.front() >= 0 && std::is_sorted(due.begin(), due.end()));
    CHECK(due.back() <= 20'000'000'000);
    double distance = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const double expected = static_cast<double>(due[i]) / 20e9;
      distance = std::max(distance, std::abs((static_cast<double>(i) + 0.5) / count - expected));
    }
    CHECK(distance < 1.95 / std::sqrt(count) + 0.5 / count);
  }
}

// The distribution function of the exponential, at the 0.1% level.
void exponential_service_times_have_their_mean_and_distribution() {
  const std::size_t count = 100'000;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    times service = exponential_service(1e9, count, seed);
    const double sum = std::accumulate(service.begin(), service.end(), 0.0);
    CHECK(std::abs(sum / count - 1e9) < 1);
    std::sort(service.begin(), service.end());
    double distance = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const double expected = 1 - std::exp(-static_cast<double>(service[i]) / 1e9);
      distance = std::max(distance, std::abs((static_cast<double>(i) + 0.5) / count - expected));
    }
    CHECK(distance < 1.95 / std::sqrt(count) + 0.5 / count);
  }
}

void arrivals_and_service_of_one_seed_are_independent() {
  const std::size_t count = 100'000;
  const times due = poisson_arrivals(1000, count, 5);
  const times service = exponential_service(1e6, count, 5);
  double covariance = 0;
  for (std::size_t i = 1; i < count; ++i) {
    covariance += (static_cast<double>(due[i] - due[i - 1]) - 1e6) *
                  (static_cast<double>(service[i]) - 1e6) * 1e-12;
  }
  CHECK(std::abs(covariance / count) < 3.3 / std::sqrt(count));  // 0.1% level
}

void bad_arguments_name_the_fix() {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double rate : {0.0, -1.0, nan, infinity}) {
    const auto message =
        message_of<invalid_argument>([rate] { return poisson_arrivals(rate, 1, 0); });
    CHECK(message.find("give a positive number of requests per second") != std::string::npos);
  }
  message_of<invalid_argument>([] { return constant_arrivals(1000, 0); });
  message_of<invalid_argument>([] { return constant_arrivals(1e-9, 1000); });
  message_of<invalid_argument>([] { return burst_arrivals(1000, 10, 0); });
  message_of<invalid_argument>([] { return poisson_arrivals(1000, SIZE_MAX / 64, 0); });
  message_of<invalid_argument>([nan] { return exponential_service(nan, 1, 0); });
  message_of<invalid_argument>([] { return exponential_service(-1, 1, 0); });
  message_of<invalid_argument>([] { return exponential_service(1, 0, 0); });
}

}  // namespace

int main() {
  return run_tests(
      TEST(a_seed_gives_the_same_schedule_everywhere), TEST(regular_schedules_are_exact),
      TEST(poisson_arrivals_are_sorted_and_uniform_over_their_span),
      TEST(exponential_service_times_have_their_mean_and_distribution),
      TEST(arrivals_and_service_of_one_seed_are_independent), TEST(bad_arguments_name_the_fix));
}
