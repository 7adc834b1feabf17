// What a model backend implements.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "gpubench/process.hpp"
#include "gpubench/request.hpp"
#include "gpubench/timeline.hpp"

namespace gpubench {

// The requests that depart together. They stay in place until the batch has completed.
struct batch_view {
  const request* requests;
  std::size_t size;           // requests, at least 1
  std::int64_t submitted_ns;  // read just before start()
};

// What has become of a batch that was handed to an executor.
enum class batch_state : std::uint8_t {
  running,   // asynchronous: poll() tells when it is complete
  complete,  // its results can be read on the host
};

// Executes batches for one worker.
//
// Thread-safety: every member but the destructor is called by the one thread of its worker. What
// any of them throws ends the run, with what() as the message. A child that is forked in one of
// them must end there: it must not return.
class executor {
 public:
  executor() = default;
  executor(const executor&) = delete;
  executor& operator=(const executor&) = delete;
  virtual ~executor() = default;

  // A runner takes the executor for its whole life and gives it back when it is closed; these two
  // are safe from any thread. acquire() throws invalid_argument, which names the executor as
  // `name`, if another runner has it.
  void acquire(const std::string& name);
  void release() noexcept { in_use_ = false; }

  // Batches that may be in flight at a time, at least 1. Must not change.
  virtual std::size_t depth() const noexcept { return 1; }

  // Whether device_times() has stamps. Must not change.
  virtual bool has_device_times() const noexcept { return false; }

  // Called once before the first run and once after the last.
  virtual void open() {}
  virtual void close() {}

  // Executes `batch` and returns complete, or starts it and returns running; then the worker calls
  // poll(slot) until that returns complete. `slot` is below depth() and has no batch in flight.
  [[nodiscard]] virtual batch_state start(std::size_t slot, const batch_view& batch) = 0;

  // The state of the batch started in `slot`. Must not block.
  [[nodiscard]] virtual batch_state poll(std::size_t /*slot*/) { return batch_state::complete; }

  // The stamps of the batch in `slot`, which has just completed, on any clock of the device's own.
  // An executor that reads them later puts them in place in to_host_clock().
  [[nodiscard]] virtual device_stamps device_times(std::size_t /*slot*/) { return {}; }

  // Called at the end of each run: moves the stamps of its `count` completed batches from the
  // device's clock to the host's, in place. stamps[i] are those that device_times() answered for
  // batches[i]; it is only from here on that they have to be right. Returns how many are, which are
  // the first ones: the last ones may be lost with the device.
  [[nodiscard]] virtual std::size_t to_host_clock(const batch_record* /*batches*/,
                                                  device_stamps* /*stamps*/, std::size_t count) {
    return count;
  }

 private:
  const home_process made_in_;
  std::atomic<bool> in_use_{false};
};

}  // namespace gpubench
