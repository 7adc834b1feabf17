#include "cuda.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "convert.hpp"
#include "cuda_calibrate.hpp"
#include "gil.hpp"
#include "gpubench/cuda/device.hpp"
#include "gpubench/cuda/error.hpp"
#include "gpubench/cuda/graph_executor.hpp"
#include "gpubench/cuda/synthetic_executor.hpp"
#include "gpubench/error.hpp"

namespace py = pybind11;
using namespace py::literals;
using namespace gpubench::cuda;

namespace {

using bytes_array = py::array_t<std::uint8_t, py::array::c_style>;

// Releases the GIL, as every call of the driver does: loading the driver and allocating can take
// long.
template <class Buffer>
std::shared_ptr<Buffer> make_buffer(const integer_argument& device, const integer_argument& bytes) {
  const std::size_t count = to_count(bytes, "bytes");
  const int number = to_device(device);
  return without_gil([&] { return std::make_shared<Buffer>(number, count); });
}

// Keeps a Python object alive for the core, which can release it on any thread.
std::shared_ptr<const void> keep(const py::object& owner) {
  const auto release = [](py::object* kept) {
    if (Py_IsInitialized() == 0) return;  // the reference can no longer be released
    with_gil([kept] { delete kept; });
  };
  return std::shared_ptr<py::object>(std::make_unique<py::object>(owner).release(), release);
}

// One array for each input tensor, with one row for each request.
std::shared_ptr<payloads> make_payloads(const std::vector<py::array>& tensors,
                                        const std::optional<integer_argument>& pinned_on) {
  std::vector<bytes_array> rows;
  std::vector<std::size_t> tensor_bytes;
  for (const py::array& each : tensors) {
    if (!py::isinstance<py::array_t<std::uint8_t>>(each) || each.ndim() != 2 ||
        each.shape(0) != tensors[0].shape(0)) {
      throw py::value_error(
          "tensors: each must be a uint8 array with one row per request, as many rows in every "
          "one; for example array.reshape(len(array), -1).view(numpy.uint8)");
    }
    rows.emplace_back(each);
    tensor_bytes.push_back(static_cast<std::size_t>(each.shape(1)));
  }
  std::vector<unsigned char> data;
  const py::ssize_t requests = rows.empty() ? 0 : rows[0].shape(0);
  for (py::ssize_t i = 0; i < requests; ++i) {
    for (const bytes_array& each : rows) {
      data.insert(data.end(), each.data(i, 0), each.data(i, 0) + each.shape(1));
    }
  }
  if (!pinned_on) return std::make_shared<payloads>(std::move(tensor_bytes), data);
  const int device = to_device(*pinned_on);
  return without_gil(
      [&] { return std::make_shared<payloads>(std::move(tensor_bytes), data, device); });
}

using python_graphs =
    std::map<std::int64_t, std::tuple<std::uintptr_t, std::int64_t, std::int64_t>>;

std::size_t to_size(std::int64_t given, const char* name) {
  return to_count(py::int_(given), name);
}

graph_slot make_slot(const python_graphs& graphs, std::shared_ptr<pinned_buffer> host_input,
                     device_address device_input, device_address device_output,
                     std::shared_ptr<pinned_buffer> host_output) {
  graph_slot slot;
  for (const auto& [requests, graph] : graphs) {
    const auto& [handle, input_bytes, output_bytes] = graph;
    slot.graphs.push_back({to_size(requests, "requests"), reinterpret_cast<CUgraphExec_st*>(handle),
                           to_size(input_bytes, "input_bytes"),
                           to_size(output_bytes, "output_bytes")});
  }
  slot.host_input = std::move(host_input);
  slot.device_input = device_input;
  slot.device_output = device_output;
  slot.host_output = std::move(host_output);
  return slot;
}

// Raises CudaUnavailable with its reason.
void translate_unavailable(py::module_& core) {
  static py::handle type;
  type = py::exception<unavailable>(core, "CudaUnavailable", PyExc_RuntimeError).release();
  type.attr("__doc__") =
      "No GPU can be used; the message says what to do. `reason` is no-driver, driver-too-old, "
      "no-device or driver-error.";
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const unavailable& error) {
      const py::object raised = type(error.what());
      raised.attr("reason") = to_string(error.why());
      PyErr_SetObject(type.ptr(), raised.ptr());
    }
  });
}

void bind_devices(py::module_& m) {
  m.def(
      "driver_version", [] { return without_gil([] { return driver_version(); }); },
      "The CUDA version that the NVIDIA driver was made for: 12080 is 12.8. Raises "
      "CudaUnavailable.");
  py::class_<device_info>(m, "Device", "A GPU of this machine.")
      .def_readonly("index", &device_info::index, "The number in cuda:0.")
      .def_property_readonly("name", [](const device_info& self) { return to_text(self.name); })
      .def_property_readonly(
          "compute_capability",
          [](const device_info& self) { return std::make_pair(self.major, self.minor); },
          "(8, 6), for example.")
      .def_readonly("memory_bytes", &device_info::memory_bytes)
      .def_readonly("uuid", &device_info::uuid, "As nvidia-smi prints it: GPU-...")
      .def_readonly("pci_bus_id", &device_info::pci_bus_id, "0000:00:1E.0, for example.");
  m.def(
      "devices", [] { return without_gil([] { return devices(); }); },
      "The GPUs of this machine, in the order of CUDA_VISIBLE_DEVICES. Raises CudaUnavailable if "
      "there is none.");
}

void bind_memory(py::module_& m) {
  py::class_<pinned_buffer, std::shared_ptr<pinned_buffer>>(
      m, "PinnedBuffer", "Page-locked memory of the host. All bytes are 0 at first.")
      .def(py::init(&make_buffer<pinned_buffer>), "device"_a, "bytes"_a)
      .def_property_readonly(
          "address",
          [](const pinned_buffer& self) { return reinterpret_cast<std::uintptr_t>(self.data()); })
      .def_property_readonly("bytes", &pinned_buffer::bytes)
      .def_property_readonly(
          "array",
          [](const py::object& self) {
            const auto& buffer = self.cast<const pinned_buffer&>();
            return bytes_array(static_cast<py::ssize_t>(buffer.bytes()), buffer.data(), self);
          },
          "The memory as a writeable one-dimensional uint8 array, which keeps the buffer alive.");
  py::class_<device_buffer, std::shared_ptr<device_buffer>>(
      m, "DeviceBuffer", "Memory of a device; torch.as_tensor() takes it as uint8 without a copy.")
      .def(py::init(&make_buffer<device_buffer>), "device"_a, "bytes"_a)
      .def_property_readonly("address", &device_buffer::address)
      .def_property_readonly("bytes", &device_buffer::bytes)
      .def_property_readonly(
          "__cuda_array_interface__",
          [](const device_buffer& self) {
            return py::dict("shape"_a = py::make_tuple(self.bytes()), "typestr"_a = "|u1",
                            "data"_a = py::make_tuple(self.address(), false), "version"_a = 3);
          },
          "https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html");
}

void bind_executors(py::module_& m) {
  py::class_<payloads, std::shared_ptr<payloads>>(
      m, "Payloads",
      "The input data of requests: one uint8 array for each input tensor, of shape (distinct "
      "requests, bytes). A request with id i has row i % count. The data is copied; workers can "
      "share it. In the memory of a batch the input tensors come one after another, each for all "
      "requests. With `pinned_on`, the number of a device, the data is in pinned memory, from "
      "which "
      "the device copies the inputs of a batch.")
      .def(py::init(&make_payloads), "tensors"_a, "pinned_on"_a = py::none())
      .def_property_readonly("pinned", &payloads::pinned)
      .def(
          "gathers",
          [](const payloads& self, const integer_argument& most_requests) {
            return self.gathers(to_count(most_requests, "most_requests"));
          },
          "most_requests"_a,
          "Whether the CPU gathers inputs of batches of up to so many requests. Then their slots "
          "need a host_input.")
      .def_property_readonly("count", &payloads::count, "Distinct requests.")
      .def(
          "offsets",
          [](const payloads& self, const integer_argument& requests) {
            return self.offsets(to_count(requests, "requests"));
          },
          "requests"_a,
          "The offset of each input tensor in the memory of a batch of so many requests.")
      .def(
          "arena_bytes",
          [](const payloads& self, const integer_argument& requests) {
            return self.arena_bytes(to_count(requests, "requests"));
          },
          "requests"_a, "The size of the memory of a batch of so many requests.");

  py::class_<graph_slot>(
      m, "Slot",
      "A slot for one batch in flight. `graphs`: {requests: (executable graph, input bytes, output "
      "bytes)}; a batch uses the smallest one that is large enough. In host_input the CPU gathers "
      "inputs; device_input is where they are copied to. Without host_output the outputs stay on "
      "the device.")
      .def(py::init(&make_slot), "graphs"_a, "host_input"_a = py::none(), "device_input"_a = 0,
           "device_output"_a = 0, "host_output"_a = py::none());

  py::class_<gpubench::cuda::clock_fit>(
      m, "ClockFit", "How the device time stamps of a run were placed on the host's clock.")
      .def_readonly("drift_ppm", &clock_fit::drift_ppm,
                    "How much faster the host's clock runs than the device's.")
      .def_readonly("width_ns", &clock_fit::width_ns,
                    "The uncertainty of a device time stamp on the host's clock; None if the "
                    "constraints contradict each other.")
      .def_readonly("contradiction_ns", &clock_fit::contradiction_ns,
                    "The largest violation of a constraint by the fitted line.")
      .def_readonly("shifted_batches", &clock_fit::shifted_batches,
                    "Batches that were shifted into [submitted, completed].")
      .def_readonly("largest_shift_ns", &clock_fit::largest_shift_ns)
      .def_readonly(
          "squeezed_batches", &clock_fit::squeezed_batches,
          "Batches that were longer on the device than [submitted, completed], and were shortened.")
      .def_readonly("largest_squeeze_ns", &clock_fit::largest_squeeze_ns);

  py::class_<graph_executor, gpubench::executor, std::shared_ptr<graph_executor>>(
      m, "GraphExecutor",
      "Executes batches with CUDA graphs: a batch is one or more copies to the device, a graph "
      "launch and a copy to the host, with one stream for each slot. Without payloads the graphs "
      "read inputs that are on the device already. `owner` is kept alive until the device has "
      "finished with the graphs. With takes_turns, which is for closed loops, the requests of each "
      "batch take the payloads that follow those of the last batch; otherwise the id of a request "
      "chooses its payload.")
      .def(
          py::init([](const integer_argument& device, std::vector<graph_slot> slots,
                      std::shared_ptr<payloads> inputs, const py::object& owner, bool takes_turns) {
            return std::make_shared<graph_executor>(to_device(device), std::move(slots),
                                                    std::move(inputs), keep(owner), takes_turns);
          }),
          "device"_a, "slots"_a, "payloads"_a = py::none(), py::kw_only(), "owner"_a,
          "takes_turns"_a = false)
      .def_property_readonly("device", &graph_executor::device, "The number in cuda:0.")
      .def_property_readonly(
          "fills_inputs", &graph_executor::fills_inputs,
          "Whether the CPU gathers the inputs of a batch before it is submitted.")
      .def_property_readonly("clock", &graph_executor::clock,
                             "The fit of the last run; None if it had no batch.")
      .def_property_readonly("padded", &graph_executor::padded,
                             "Requests that padded batches to a graph size in the last run.")
      .def_property_readonly("launches", &graph_executor::launches,
                             "Graph launches in the last run.")
      .def_property_readonly("enqueue_ns", &graph_executor::enqueue_ns,
                             "Host time of all graph launches of the last run.");
  py::class_<synthetic_executor, graph_executor, std::shared_ptr<synthetic_executor>>(
      m, "SyntheticExecutor",
      "Each batch is a graph with a kernel of known duration, whatever its size: an int, or an "
      "int64 array of which each batch takes the next entry. request_bytes and reply_bytes are "
      "copied to and from the device for each request; 0: nothing is copied. With pinned_inputs "
      "the "
      "requests are in pinned memory, from which the device copies them.")
      .def(py::init([](const integer_argument& device, const py::object& service_ns,
                       const integer_argument& depth, const integer_argument& max_batch,
                       const integer_argument& request_bytes, const integer_argument& reply_bytes,
                       bool pinned_inputs) {
             const synthetic_executor::options wanted{
                 to_count(depth, "depth"), to_count(max_batch, "max_batch"),
                 to_count(request_bytes, "request_bytes"), to_count(reply_bytes, "reply_bytes"),
                 pinned_inputs};
             const auto table = service_table(service_ns);
             const int number = to_device(device);
             return without_gil(
                 [&] { return std::make_shared<synthetic_executor>(number, table, wanted); });
           }),
           "device"_a, "service_ns"_a, py::kw_only(), "depth"_a = 1, "max_batch"_a = 1,
           "request_bytes"_a = 0, "reply_bytes"_a = 0, "pinned_inputs"_a = false);
}

}  // namespace

void bind_cuda(py::module_& core) {
  translate_unavailable(core);
  py::module_ m = core.def_submodule("cuda",
                                     "GPUs: devices, memory, and executors that launch CUDA "
                                     "graphs. The design is in docs/cuda.md.");
  bind_devices(m);
  bind_memory(m);
  bind_executors(m);
  bind_event_check(m);
}
