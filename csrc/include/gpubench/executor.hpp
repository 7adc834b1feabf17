// The interface that a model backend implements.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "gpubench/process.hpp"
#include "gpubench/request.hpp"
#include "gpubench/timeline.hpp"

namespace gpubench {

// The requests of one batch. They stay valid until the batch is complete.
struct batch_view {
  const request* requests;
  std::size_t size;           // requests, at least 1
  std::int64_t submitted_ns;  // read immediately before start()
};

enum class batch_state : std::uint8_t {
  running,   // the batch was started; poll() tells when it is complete
  complete,  // the host can read the results
};

// Executes batches for one worker.
//
// Thread-safety: the thread of its worker calls all members but the destructor. An exception that a
// member throws ends the run; what() becomes the message. If a member forks the process, the child
// must end inside that member: it must not return.
class executor {
 public:
  executor() = default;
  executor(const executor&) = delete;
  executor& operator=(const executor&) = delete;
  virtual ~executor() = default;

  // A runner acquires the executor when it is made and releases it when it is closed. Both calls
  // are safe from any thread. acquire() throws invalid_argument if another runner has the executor;
  // `name` is its name in the message.
  void acquire(const std::string& name);
  void release() noexcept { in_use_ = false; }

  // How many batches may be in flight at the same time, at least 1. Must not change.
  virtual std::size_t depth() const noexcept { return 1; }

  // Whether device_times() returns time stamps. Must not change.
  virtual bool has_device_times() const noexcept { return false; }

  // Called once before the first run and once after the last run.
  virtual void open() {}
  virtual void close() {}

  // Gathers the inputs of the batch that the next start(slot) gets. The worker calls it after the
  // batch has left the queue and before it reads submitted_ns. So its time is not part of the
  // submission.
  virtual void fill(std::size_t /*slot*/, const request* /*requests*/, std::size_t /*size*/) {}

  // Executes `batch` and returns complete, or starts it and returns running. In the second case the
  // worker calls poll(slot) until it returns complete. `slot` is below depth() and has no batch in
  // flight.
  [[nodiscard]] virtual batch_state start(std::size_t slot, const batch_view& batch) = 0;

  // The state of the batch that was started in `slot`. Must not block.
  [[nodiscard]] virtual batch_state poll(std::size_t /*slot*/) { return batch_state::complete; }

  // The device time stamps of the batch in `slot`, which has just completed, on the clock of the
  // device. An executor that reads them later replaces them in to_host_clock().
  [[nodiscard]] virtual device_stamps device_times(std::size_t /*slot*/) { return {}; }

  // Called at the end of each run. Converts the time stamps of `count` completed batches from the
  // device's clock to the host's, in place. stamps[i] is what device_times() returned for
  // batches[i]. Returns how many batches have correct time stamps now. They are the first ones; if
  // the device failed, the stamps of the last batches can be missing.
  [[nodiscard]] virtual std::size_t to_host_clock(const batch_record* /*batches*/,
                                                  device_stamps* /*stamps*/, std::size_t count) {
    return count;
  }

 private:
  const owner_process owner_;
  std::atomic<bool> in_use_{false};
};

}  // namespace gpubench
