// A model with known service times, on the fake driver.
#include "gpubench/cuda/synthetic_executor.hpp"

#include <memory>
#include <string>

#include "check.hpp"
#include "fake_cuda_driver.hpp"
#include "gpubench/error.hpp"
#include "gpubench/runner.hpp"

using namespace gpubench;
using namespace gpubench::cuda;

namespace {

run_options until(std::size_t completions) {
  run_options options;
  options.stop_after_completions = completions;
  options.capacity = 10'000;
  return options;
}

void batches_take_the_service_times_in_turn() {
  const auto device = std::make_shared<synthetic_executor>(
      0, std::vector<std::int64_t>{2'000'000, 300'000, 0}, synthetic_executor::options{2, 1, 0, 0});
  runner workers({device});
  const outcome result = workers.run(std::make_shared<closed_loop>(1), until(30));
  const timeline& stamps = *result.timelines[0];
  CHECK(!result.error && stamps.stamp_count() == stamps.batch_count());
  for (std::size_t i = 0; i < stamps.stamp_count(); ++i) {
    const device_stamps& each = stamps.stamps()[i];
    const std::int64_t computed_ns = each[2] - each[1];
    const std::int64_t wanted_ns = i % 3 == 0 ? 2'000'000 : i % 3 == 1 ? 300'000 : 0;
    CHECK(computed_ns >= wanted_ns - 1'000);
    CHECK(each[0] == each[1] && each[2] == each[3]);
    CHECK(stamps.batches()[i].submitted_ns <= each[0]);
    CHECK(each[3] <= stamps.batches()[i].completed_ns);
  }
}

void inputs_and_outputs_are_copied() {
  const long long copies = fake_cuda_get("copies");
  const auto device = std::make_shared<synthetic_executor>(
      0, std::vector<std::int64_t>{10'000}, synthetic_executor::options{2, 4, 1000, 10});
  runner workers({device});
  run_options options = until(400);
  options.batch = {4, 0};
  const outcome result = workers.run(std::make_shared<closed_loop>(8), options);
  CHECK(!result.error);
  const auto batches = static_cast<long long>(result.timelines[0]->batch_count());
  CHECK(fake_cuda_get("copies") == copies + 2 * batches);
  CHECK(fake_cuda_get("pageable_copies") == 0);
  CHECK(device->padded() == 0);
}

void bad_arguments_are_refused() {
  const auto refusal = [](std::vector<std::int64_t> service_ns,
                          synthetic_executor::options wanted) {
    return message_of<invalid_argument>(
        [&] { const synthetic_executor none(0, service_ns, wanted); });
  };
  CHECK(refusal({}, {1, 1, 0, 0}).find("service_ns is empty") == 0);
  CHECK(refusal({-1}, {1, 1, 0, 0}).find("service_ns holds -1") == 0);
  CHECK(refusal({1}, {0, 1, 0, 0}).find("depth is 0") == 0);
  CHECK(refusal({1}, {1, 0, 0, 0}).find("max_batch is 0") == 0);
}

void nothing_leaks() {
  CHECK(fake_cuda_get("live") == 0);
  CHECK(fake_cuda_get("freed_in_use") == 0);
  CHECK(fake_cuda_get("overlapping_launches") == 0);
}

}  // namespace

int main() {
  return run_tests(TEST(batches_take_the_service_times_in_turn),
                   TEST(inputs_and_outputs_are_copied), TEST(bad_arguments_are_refused),
                   TEST(nothing_leaks));
}
