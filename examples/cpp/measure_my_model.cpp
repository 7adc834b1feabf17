// Measures a model of your own: implement an executor, choose a source, run, read the timeline.
//
//   cmake -S . -B build -Dgpubench_DIR=$(gpubench paths --cmake) && cmake --build build
//   build/measure_my_model
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <gpubench/gpubench.hpp>
#include <memory>
#include <vector>

namespace {

// Stands in for a model: a matrix times a vector for every request of the batch.
class my_model final : public gpubench::executor {
 public:
  void open() override {  // on the worker's thread: load the model and warm it up here
    matrix_.assign(size * size, 0.5F);
    input_.assign(size, 1.0F);
    output_.assign(size, 0.0F);
  }

  gpubench::batch_state start(std::size_t /*slot*/, const gpubench::batch_view& batch) override {
    for (std::size_t request = 0; request < batch.size; ++request) infer();
    return gpubench::batch_state::complete;
  }

 private:
  static constexpr std::size_t size = 128;

  void infer() {
    for (std::size_t row = 0; row < size; ++row) {
      float sum = 0;
      for (std::size_t i = 0; i < size; ++i) sum += matrix_[row * size + i] * input_[i];
      output_[row] = std::tanh(sum);
    }
  }

  std::vector<float> matrix_, input_, output_;
};

std::vector<std::int64_t> sorted_latencies_ns(const gpubench::outcome& result) {
  std::vector<std::int64_t> latencies;
  for (const auto& timeline : result.timelines) {
    for (std::size_t b = 0; b < timeline->batch_count(); ++b) {
      const gpubench::batch_record& batch = timeline->batches()[b];
      for (std::size_t i = 0; i < batch.size; ++i) {
        const gpubench::request& request = timeline->requests()[batch.first_request + i];
        latencies.push_back(batch.completed_ns - request.scheduled_ns);
      }
    }
  }
  std::sort(latencies.begin(), latencies.end());
  return latencies;
}

}  // namespace

int main() {
  try {
    // 2,000 requests a second for half a second, up to 8 of them joined within 1 ms.
    auto source =
        std::make_shared<gpubench::open_loop>(gpubench::poisson_arrivals(2000, 1000, /*seed=*/1));
    gpubench::run_options options;
    options.batch = {8, 1'000'000};

    gpubench::runner runner({std::make_shared<my_model>()});
    const gpubench::outcome warm_up = runner.run(source, options);  // on the thread measured next
    const gpubench::outcome result = runner.run(source, options);
    for (const auto& error : {warm_up.error, result.error}) {
      if (!error) continue;
      std::fprintf(stderr, "%s\n", error->c_str());
      return 1;
    }
    const auto latencies = sorted_latencies_ns(result);
    const auto percentile_us = [&latencies](double p) {  // nearest rank
      const auto rank = std::ceil(p * static_cast<double>(latencies.size()));
      return static_cast<double>(latencies[static_cast<std::size_t>(rank) - 1]) * 1e-3;
    };
    std::printf("%zu of %zu requests completed (%s)\n", result.completed, result.offered(),
                gpubench::to_string(result.reason));
    std::printf("latency P50 %.1f us, P95 %.1f us, P99 %.1f us\n", percentile_us(0.50),
                percentile_us(0.95), percentile_us(0.99));
    return 0;
  } catch (const std::exception& error) {  // gpubench::invalid_argument, gpubench::runner_error
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
