// The table of the driver, its errors, and the owners of its handles, on the fake driver.
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "check.hpp"
#include "cuda/context.hpp"
#include "cuda/driver.hpp"
#include "cuda/event.hpp"
#include "cuda/stream.hpp"
#include "fake_cuda_driver.hpp"
#include "forked.hpp"
#include "gpubench/clock.hpp"
#include "gpubench/cuda/buffers.hpp"
#include "gpubench/cuda/device.hpp"
#include "gpubench/cuda/error.hpp"
#include "gpubench/error.hpp"

using namespace gpubench;
using namespace gpubench::cuda;

namespace {

// Whether `function` throws unavailable for this reason, with a message of one line and a remedy.
template <class Function>
bool unavailable_for(unavailable::reason why, const std::string& part, const Function& function) {
  try {
    function();
  } catch (const unavailable& error) {
    const std::string message = error.what();
    return error.why() == why && message.find(part) != std::string::npos &&
           message.find('\n') == std::string::npos && message.find(';') != std::string::npos;
  }
  return false;
}

// Must be the first test: once the driver is loaded, it stays loaded.
void a_driver_that_cannot_be_used_gives_the_reason() {
  using reason = unavailable::reason;
  CHECK(unavailable_for(reason::no_driver, "no-such-library.so",
                        [] { const driver none("no-such-library.so"); }));
  fake_cuda_set("driver_version", 11080);
  CHECK(unavailable_for(reason::driver_too_old, "for CUDA 11.8", [] { load_driver(); }));
  fake_cuda_reset();
  fake_cuda_set("devices", 0);
  CHECK(unavailable_for(reason::no_device, "sees no GPU", [] { load_driver(); }));
  fake_cuda_reset();
  fake_cuda_set("init_error", 803);
  CHECK(unavailable_for(reason::driver_error, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)",
                        [] { load_driver(); }));
  fake_cuda_reset();
  CHECK(load_driver().version() == 12000);
}

void devices_have_their_own_index_name_uuid_and_bus_id() {
  fake_cuda_set("devices", 2);
  const auto found = devices();
  CHECK(found.size() == 2);
  CHECK(found[1].index == 1 && found[1].name == "Fake GPU");
  CHECK(found[1].major == 8 && found[1].minor == 6);
  CHECK(found[1].memory_bytes == std::size_t{16} << 30);
  CHECK(found[1].uuid == "GPU-f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfe01");
  CHECK(found[1].pci_bus_id == "0000:02:00.0");
  require_device(1);
  CHECK(message_of<unavailable>([] { require_device(2); }) ==
        "cuda:2 is not there; this machine has cuda:0 to cuda:1");
  fake_cuda_reset();
  CHECK(message_of<unavailable>([] { const context none(1); }) ==
        "cuda:1 is not there; this machine has cuda:0");
}

void an_error_has_call_code_name_and_text() {
  const auto on = std::make_shared<const context>(0);
  fake_cuda_set("out_of_memory_at", 2);
  const device_buffer first(0, 100);
  try {
    const pinned_buffer second(0, 100);
    CHECK(false);
  } catch (const cuda_error& error) {
    CHECK(error.call() == "cuMemHostAlloc" && error.code() == 2);
    CHECK(error.name() == "CUDA_ERROR_OUT_OF_MEMORY" && error.text() == "out of memory");
    CHECK(std::string(error.what()) ==
          "cuMemHostAlloc: CUDA_ERROR_OUT_OF_MEMORY (2): out of memory");
  }
  CHECK(message_of<invalid_argument>([&] { const device_buffer none(0, 0); }) ==
        "bytes is 0; a buffer has at least 1 byte");
}

void owners_destroy_their_handles() {
  {
    const auto on = std::make_shared<const context>(0);
    stream first(on);
    stream second(std::move(first));
    event mark(on);
    pinned_buffer host(0, 10);
    device_buffer memory(0, 10);
    CHECK(fake_cuda_get("live_streams") == 1 && fake_cuda_get("live_events") == 1);
    CHECK(fake_cuda_get("live_pinned") == 1 && fake_cuda_get("live_device") == 1);
    second = stream(on);
    CHECK(fake_cuda_get("live_streams") == 1);
    for (int i = 0; i < 10; ++i) CHECK(host.data()[i] == 0);
    std::thread([moved = std::move(memory)]() mutable {
      const auto end = std::move(moved);
    }).join();
    CHECK(fake_cuda_get("live_device") == 0);
  }
  CHECK(fake_cuda_get("live") == 0);
}

void a_context_is_current_for_a_scope() {
  const context on(0);
  CUstream_st* made = nullptr;
  CHECK(load_driver().cuStreamCreate.attempt(&made, stream_non_blocking) != success);
  {
    const current_context current(on);
    CHECK(load_driver().cuStreamCreate.attempt(&made, stream_non_blocking) == success);
    load_driver().cuStreamDestroy(made);
  }
  CHECK(load_driver().cuStreamCreate.attempt(&made, stream_non_blocking) != success);
}

void bytes_go_to_the_device_and_back_in_the_order_of_the_stream() {
  const auto on = std::make_shared<const context>(0);
  const current_context current(*on);
  const stream line(on);
  const pinned_buffer host(0, 1000);
  const device_buffer device(0, 1000);
  event before(on);
  event after(on);
  for (int i = 0; i < 1000; ++i) host.data()[i] = static_cast<unsigned char>(i);
  before.record(line);
  load_driver().cuMemcpyHtoDAsync(device.address(), host.data(), 1000, line.handle());
  after.record(line);
  while (!after.passed()) relax();
  for (int i = 0; i < 1000; ++i) host.data()[i] = 0;
  load_driver().cuMemcpyDtoHAsync(host.data(), device.address(), 1000, line.handle());
  while (!line.idle()) relax();
  for (int i = 0; i < 1000; ++i) CHECK(host.data()[i] == static_cast<unsigned char>(i));
  CHECK(elapsed_ns(before, after) >= 1500);
  CHECK(elapsed_ns(after, before) == -elapsed_ns(before, after));
}

void a_sticky_error_is_in_every_later_answer() {
  {
    const auto on = std::make_shared<const context>(0);
    const current_context current(*on);
    const stream line(on);
    const device_buffer device(0, 64);
    CUgraphExec_st* const graph =
        fake_cuda_copy_graph(device.address(), device.address() + 32, 32, 20'000'000);
    event done(on);
    fake_cuda_set("launch_kills_at", 1);
    load_driver().cuGraphLaunch(graph, line.handle());
    done.record(line);
    const std::string message = message_of<cuda_error>([&] {
      while (!done.passed()) relax();
    });
    CHECK(message ==
          "cuEventQuery: CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access was "
          "encountered");
    CHECK(message_of<cuda_error>([&] { done.record(line); }).find("cuEventRecord") == 0);
    load_driver().cuGraphExecDestroy.attempt(graph);
  }
  CHECK(fake_cuda_get("live") == 0);
  const auto again = std::make_shared<const context>(0);
  const stream usable(again);
}

void a_forked_child_has_no_driver_and_destroys_nothing() {
  auto on = std::make_shared<const context>(0);
  auto memory = std::make_unique<pinned_buffer>(0, 64);
  auto line = std::make_unique<stream>(on);
  const auto live = fake_cuda_get("live");
  CHECK(holds_in_child([&] {
    CHECK(unavailable_for(unavailable::reason::driver_error, "CUDA does not survive fork",
                          [] { load_driver(); }));
    CHECK(unavailable_for(unavailable::reason::driver_error, "'spawn'", [] { devices(); }));
    memory.reset();
    line.reset();
    on.reset();
    CHECK(fake_cuda_get("live") == live);
  }));
}

}  // namespace

int main() {
  return run_tests(TEST(a_driver_that_cannot_be_used_gives_the_reason),
                   TEST(devices_have_their_own_index_name_uuid_and_bus_id),
                   TEST(an_error_has_call_code_name_and_text), TEST(owners_destroy_their_handles),
                   TEST(a_context_is_current_for_a_scope),
                   TEST(bytes_go_to_the_device_and_back_in_the_order_of_the_stream),
                   TEST(a_sticky_error_is_in_every_later_answer),
                   TEST(a_forked_child_has_no_driver_and_destroys_nothing));
}
