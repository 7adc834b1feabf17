// gpubench._core: the Python module of the core.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "convert.hpp"
#include "cuda.hpp"
#include "fleet.hpp"
#include "gil.hpp"
#include "gpubench/gpubench.hpp"
#include "python_executor.hpp"
#include "python_runner.hpp"
#include "signals.hpp"

namespace py = pybind11;
using namespace py::literals;

namespace {

// The vector becomes the array's memory.
nanoseconds to_array(std::vector<std::int64_t> values) {
  auto owned = std::make_unique<std::vector<std::int64_t>>(std::move(values));
  const auto size = static_cast<py::ssize_t>(owned->size());
  const std::int64_t* const data = owned->data();
  const py::capsule owner(owned.release(), [](void* vector) {
    delete static_cast<std::vector<std::int64_t>*>(vector);
  });
  return nanoseconds(read_only(nanoseconds(size, data, owner)));
}

// Does not copy a read-only array, because schedules can be long.
std::shared_ptr<gpubench::open_loop> make_open_loop(const py::object& given) {
  const nanoseconds due_ns = integers(given, "due_ns");
  const auto size = static_cast<std::size_t>(due_ns.size());
  if (due_ns.writeable()) {
    return std::make_shared<gpubench::open_loop>(
        std::vector<std::int64_t>(due_ns.data(), due_ns.data() + size));
  }
  const auto release = [](nanoseconds* array) {
    if (Py_IsInitialized() == 0) return;  // the reference can no longer be released
    with_gil([array] { delete array; });
  };
  const std::shared_ptr<nanoseconds> owner(new nanoseconds(due_ns), release);
  return std::make_shared<gpubench::open_loop>(
      std::shared_ptr<const std::int64_t>(owner, due_ns.data()), size);
}

gpubench::wait_mode to_wait_mode(const argument<std::string>& given) {
  constexpr const char* wanted = "'spin', 'yield' or 'block'";
  if (!py::isinstance<py::str>(given.given)) throw wrong_type("wait", wanted, given.given);
  const std::string name = given.to("wait", wanted);
  if (name == "spin") return gpubench::wait_mode::spin;
  if (name == "yield") return gpubench::wait_mode::yield;
  if (name == "block") return gpubench::wait_mode::block;
  throw py::value_error("wait is '" + name + "'; choose spin, yield or block");
}

using source_argument = argument<std::shared_ptr<gpubench::request_source>>;
using executors_argument = argument<std::vector<std::shared_ptr<gpubench::executor>>>;

std::shared_ptr<gpubench::request_source> to_source(const source_argument& given) {
  auto source = given.to("source", "a RequestSource");
  if (source == nullptr) throw wrong_type("source", "a RequestSource", given.given);
  return source;
}

gpubench::run_options to_options(const integer_argument& max_batch,
                                 const integer_argument& max_delay_ns,
                                 const std::optional<integer_argument>& stop_after_completions,
                                 const std::optional<integer_argument>& stop_after_ns,
                                 const integer_argument& capacity) {
  gpubench::run_options options;
  options.batch = {to_count(max_batch, "max_batch"), to_int64(max_delay_ns, "max_delay_ns")};
  if (stop_after_completions) {
    options.stop_after_completions = to_count(*stop_after_completions, "stop_after_completions");
  }
  options.stop_after_ns = to_int64(stop_after_ns, "stop_after_ns");
  options.capacity = to_count(capacity, "capacity");
  return options;
}

// Waits for room in short slices, so that it reacts to Ctrl-C.
bool submit(gpubench::live_queue& queue, const integer_argument& given_id,
            const std::optional<real_argument>& wait_s) {
  using submission = gpubench::live_queue::submission;
  const std::int64_t id = to_int64(given_id, "id");
  const std::int64_t due_ns = gpubench::now_ns();
  const std::int64_t until_ns = due_ns + (wait_s ? to_span_ns(*wait_s, "wait_s") : 0);
  for (;;) {
    const std::int64_t left_ns = std::max<std::int64_t>(0, until_ns - gpubench::now_ns());
    const std::int64_t slice_ns = std::min(left_ns, signal_interval_ns);
    const submission result = without_gil([&] { return queue.submit(id, slice_ns, due_ns); });
    if (result == submission::closed) {
      throw std::runtime_error("the queue is closed; submit before close()");
    }
    if (result == submission::accepted) return true;
    if (slice_ns == left_ns) return false;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

// One member of all records, as a strided view that keeps `owner` alive.
template <class Column, class Record>
py::array_t<Column> column(const Record* records, std::size_t count, Column Record::* member,
                           const py::object& owner) {
  static const Record none{};
  const Record* const first = count > 0 ? records : &none;
  return py::array_t<Column>(read_only(
      py::array_t<Column>({static_cast<py::ssize_t>(count)},
                          {static_cast<py::ssize_t>(sizeof(Record))}, &(first->*member), owner)));
}

template <class Column>
auto batch_column(Column gpubench::batch_record::* member) {
  return [member](const py::object& self) {
    const auto& stamps = self.cast<const gpubench::timeline&>();
    return column(stamps.batches(), stamps.batch_count(), member, self);
  };
}

auto request_column(std::int64_t gpubench::request::* member) {
  return [member](const py::object& self) {
    const auto& stamps = self.cast<const gpubench::timeline&>();
    return column(stamps.requests(), stamps.request_count(), member, self);
  };
}

// The row of its batch for every request. Computed, because the requests of a batch are contiguous.
nanoseconds batch_of_request(const gpubench::timeline& stamps) {
  nanoseconds batch(static_cast<py::ssize_t>(stamps.request_count()));
  std::int64_t* at = batch.mutable_data();
  for (std::size_t i = 0; i < stamps.batch_count(); ++i) {
    at = std::fill_n(at, stamps.batches()[i].size, static_cast<std::int64_t>(i));
  }
  return batch;
}

std::optional<nanoseconds> device_times(const py::object& self) {
  const auto& stamps = self.cast<const gpubench::timeline&>();
  if (!stamps.has_device_times()) return std::nullopt;
  const auto count = static_cast<py::ssize_t>(stamps.stamp_count());
  return nanoseconds(read_only(nanoseconds(
      {count, py::ssize_t{4}}, reinterpret_cast<const std::int64_t*>(stamps.stamps()), self)));
}

// An object that Class.__new__(Class) made has no C++ object. For such an object pybind11 passes
// uninitialised memory to the methods. It allocates that memory with this function of the type.
[[noreturn]] void* refuse_uninitialised(std::size_t) {
  throw py::type_error("the object is not initialised; make it by calling its class");
}

void refuse_uninitialised_objects(const py::module_& module) {
  for (const auto& [name, value] : py::cast<py::dict>(module.attr("__dict__"))) {
    if (!py::isinstance<py::type>(value) || !py::hasattr(value, "_pybind11_conduit_v1_")) continue;
    auto* const type = reinterpret_cast<PyTypeObject*>(value.ptr());
    py::detail::get_type_info(type)->operator_new = &refuse_uninitialised;
  }
}

}  // namespace

// The threads of the core use the main interpreter only. Python itself refuses such a module only
// in an interpreter with its own GIL. In any other one, pybind11, which makes PyInit_all_of_core,
// would wait for ever for the main interpreter's GIL.
//
// Returns 0, or -1 with an ImportError, as a slot of a module must.
static int require_main_interpreter(PyObject*) {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return 0;
  PyErr_SetString(PyExc_ImportError,
                  "gpubench cannot be imported in a subinterpreter; import it in the main "
                  "interpreter, or in another process");
  return -1;
}

// Checks before pybind11 does anything, and again before the module is filled: since Python 3.13
// this function runs in the main interpreter, whichever interpreter imports the module.
extern "C" PyObject* PyInit_all_of_core();
extern "C" __attribute__((visibility("default"))) PyObject* PyInit__core() {
  if (require_main_interpreter(nullptr) != 0) return nullptr;
  PyObject* const made = PyInit_all_of_core();
  if (made == nullptr || Py_TYPE(made) != &PyModuleDef_Type) return made;
  const auto& all = *reinterpret_cast<const PyModuleDef*>(made);
  static std::vector<PyModuleDef_Slot> slots;
  static PyModuleDef definition = {
      PyModuleDef_HEAD_INIT, all.m_name,  all.m_doc, all.m_size, all.m_methods, nullptr,
      all.m_traverse,        all.m_clear, all.m_free};
  if (slots.empty()) {
    slots.push_back({Py_mod_exec, reinterpret_cast<void*>(&require_main_interpreter)});
    const PyModuleDef_Slot* slot = all.m_slots;
    while (slot->slot != 0) slots.push_back(*slot++);
    slots.push_back({0, nullptr});
    definition.m_slots = slots.data();
  }
  return PyModuleDef_Init(&definition);
}

PYBIND11_MODULE(all_of_core, m, py::multiple_interpreters::not_supported()) {
  m.doc() = "The timed request queue. All times are int64 nanoseconds of the monotonic clock.";

  m.def("now_ns", &gpubench::now_ns, "The monotonic clock, in nanoseconds.");

  m.def(
      "constant_arrivals",
      [](const real_argument& rate, const integer_argument& count) {
        return to_array(gpubench::constant_arrivals(to_double(rate, "rate_per_second"),
                                                    to_count(count, "count")));
      },
      "rate_per_second"_a, "count"_a,
      "Due times of one request every 1 / rate seconds: offsets from the start; the first one is "
      "0.");
  m.def(
      "poisson_arrivals",
      [](const real_argument& rate, const integer_argument& count, const integer_argument& seed) {
        return to_array(gpubench::poisson_arrivals(to_double(rate, "rate_per_second"),
                                                   to_count(count, "count"),
                                                   to_seed(seed.given, "seed")));
      },
      "rate_per_second"_a, "count"_a, "seed"_a,
      "Due times of a Poisson process with `count` arrivals in `count / rate` seconds, sorted. A "
      "seed gives the same times on every platform.");
  m.def(
      "burst_arrivals",
      [](const real_argument& rate, const integer_argument& count, const integer_argument& burst) {
        return to_array(gpubench::burst_arrivals(to_double(rate, "rate_per_second"),
                                                 to_count(count, "count"),
                                                 to_count(burst, "burst")));
      },
      "rate_per_second"_a, "count"_a, "burst"_a,
      "Due times of groups of `burst` requests, one group every burst / rate seconds.");
  m.def(
      "exponential_service",
      [](const real_argument& mean_ns, const integer_argument& count,
         const integer_argument& seed) {
        return to_array(gpubench::exponential_service(
            to_double(mean_ns, "mean_ns"), to_count(count, "count"), to_seed(seed.given, "seed")));
      },
      "mean_ns"_a, "count"_a, "seed"_a,
      "A table of exponential service times whose mean is `mean_ns`; independent of "
      "poisson_arrivals() with the same seed.");

  py::class_<gpubench::request_source, std::shared_ptr<gpubench::request_source>>(
      m, "RequestSource", "Requests with due times. A source serves one run at a time.");
  py::class_<gpubench::closed_loop, gpubench::request_source,
             std::shared_ptr<gpubench::closed_loop>>(
      m, "ClosedLoop",
      "A fixed number of clients: each sends its next request `think_time_ns` after its last one "
      "completed. The ids are the numbers of the clients, from 0.")
      .def(py::init([](const integer_argument& clients, const integer_argument& think_time_ns) {
             return std::make_shared<gpubench::closed_loop>(
                 to_count(clients, "clients"), to_int64(think_time_ns, "think_time_ns"));
           }),
           "clients"_a, "think_time_ns"_a = 0);
  py::class_<gpubench::open_loop, gpubench::request_source, std::shared_ptr<gpubench::open_loop>>(
      m, "OpenLoop",
      "Requests on a schedule of offsets from the start, however long the system takes to complete "
      "them. The ids are indices in the schedule. A read-only int64 array is used in place; any "
      "other array is copied.")
      .def(py::init(&make_open_loop), "due_ns"_a);
  py::class_<gpubench::live_queue, gpubench::request_source, std::shared_ptr<gpubench::live_queue>>(
      m, "LiveQueue", "Requests that other threads submit during the run.")
      .def(py::init([](const integer_argument& capacity) {
             return std::make_shared<gpubench::live_queue>(to_count(capacity, "capacity"));
           }),
           "capacity"_a)
      .def("submit", &submit, "id"_a, "wait_s"_a = py::none(),
           "Submits a request, which is due now. False if the queue is full and stays full for "
           "`wait_s` seconds (None: does not wait). Raises RuntimeError once the queue is closed, "
           "and in a child that was forked after the queue was made.")
      .def(
          "close", [](gpubench::live_queue& self) { without_gil([&self] { self.close(); }); },
          "No request is accepted any more: the run finishes when the queue is empty.");

  py::class_<gpubench::executor, std::shared_ptr<gpubench::executor>>(
      m, "Executor", "Executes batches for one worker.");
  py::class_<gpubench::delay_executor, gpubench::executor,
             std::shared_ptr<gpubench::delay_executor>>(
      m, "DelayExecutor",
      "An executor with a known service time for each batch, whatever its size: an int, or an "
      "int64 array of which each batch takes the next entry. 0 is the null system. The thread "
      "spins or sleeps during the service time.")
      .def(py::init([](const py::object& service_ns, const argument<bool>& given_spin) {
             const bool spin = given_spin.to("spin", "True or False");
             using delay = gpubench::delay_executor::delay;
             return std::make_shared<gpubench::delay_executor>(service_table(service_ns),
                                                               spin ? delay::spin : delay::sleep);
           }),
           "service_ns"_a, "spin"_a = true);
  py::class_<python_executor, gpubench::executor, std::shared_ptr<python_executor>>(
      m, "PythonExecutor",
      "Calls run(ids) once for each batch, where ids is a new int64 array, and open() and close() "
      "once each, all on the worker's thread.")
      .def(py::init<py::object, std::optional<py::object>, std::optional<py::object>>(), "run"_a,
           "open"_a = py::none(), "close"_a = py::none());

  py::class_<gpubench::timeline, std::shared_ptr<gpubench::timeline>>(
      m, "Timeline",
      "Completed batches of one worker and their requests. Columns are read-only views, not "
      "copies, and keep the timeline alive.")
      .def_property_readonly("opened_ns", batch_column(&gpubench::batch_record::opened_ns),
                             "Per batch: when the worker began to look for it.")
      .def_property_readonly("departed_ns", batch_column(&gpubench::batch_record::departed_ns),
                             "Per batch: when its requests were removed from the queue.")
      .def_property_readonly("submitted_ns", batch_column(&gpubench::batch_record::submitted_ns),
                             "Per batch: immediately before the executor was called.")
      .def_property_readonly("completed_ns", batch_column(&gpubench::batch_record::completed_ns),
                             "Per batch: when the host could read its results.")
      .def_property_readonly("first_request", batch_column(&gpubench::batch_record::first_request),
                             "Per batch: the row of its first request.")
      .def_property_readonly("size", batch_column(&gpubench::batch_record::size),
                             "Per batch: how many requests it has.")
      .def_property_readonly("scheduled_ns", request_column(&gpubench::request::scheduled_ns),
                             "Per request: when it was due.")
      .def_property_readonly(
          "id", request_column(&gpubench::request::id),
          "Per request: its index in the schedule, its client, or the caller's own id.")
      .def_property_readonly(
          "batch", &batch_of_request,
          "Per request: the row of its batch. Computed at each access, not a view.")
      .def_property_readonly(
          "device_ns", &device_times,
          "Per batch: (batches, 4) stamps e0..e3 on the host's clock, or None. The "
          "last batches before a device was lost have no row.");

  py::class_<python_outcome>(m, "Outcome", "What a run measured.")
      .def_property_readonly(
          "start_ns", [](const python_outcome& self) { return self.result.start_ns; },
          "The zero of the schedule.")
      .def_property_readonly(
          "end_ns", [](const python_outcome& self) { return self.result.end_ns; },
          "When departures ended.")
      .def_property_readonly(
          "reason",
          [](const python_outcome& self) { return gpubench::to_string(self.result.reason); },
          "finished, completions, time, timeline full, stopped, error or deadline.")
      .def_property_readonly(
          "error",
          [](const python_outcome& self) -> std::optional<py::str> {
            if (!self.result.error) return std::nullopt;
            return to_text(*self.result.error);
          },
          "None, or what went wrong: \"worker 1: RuntimeError: out of memory\".")
      .def_property_readonly(
          "offered", [](const python_outcome& self) { return self.result.offered(); },
          "Requests that were due by the end, completed or not.")
      .def_property_readonly(
          "completed", [](const python_outcome& self) { return self.result.completed; },
          "Requests in the timelines.")
      .def_property_readonly(
          "failed", [](const python_outcome& self) { return self.result.failed; },
          "Requests whose batch raised an exception; they are among the unfinished ones.")
      .def_property_readonly(
          "unfinished_scheduled_ns",
          [](const python_outcome& self) { return to_array(self.result.unfinished_scheduled_ns); },
          "Due times of the requests that were due by the end and never completed, sorted.")
      .def_property_readonly(
          "cpu_seconds", [](const python_outcome& self) { return self.result.cpu_seconds; },
          "CPU time of the process during the run.")
      .def_property_readonly(
          "timelines", [](const python_outcome& self) { return self.result.timelines; },
          "One for each worker, in order.")
      .def_readonly("interrupted", &python_outcome::interrupted,
                    "Whether a signal (Ctrl-C) ended the run. The caller has to act on it.");

  py::class_<python_runner>(
      m, "Runner",
      "One thread for each executor, for any number of runs. An executor serves one runner at a "
      "time, until the runner is closed. In a forked child there are no threads: every call but "
      "close() raises RuntimeError.")
      .def(py::init([](const executors_argument& executors, const argument<std::string>& wait) {
             return std::make_unique<python_runner>(
                 executors.to("executors", "a list of Executors"), to_wait_mode(wait));
           }),
           "executors"_a, "wait"_a = "spin")
      .def(
          "run",
          [](python_runner& self, const source_argument& source, const integer_argument& max_batch,
             const integer_argument& max_delay_ns,
             const std::optional<integer_argument>& stop_after_completions,
             const std::optional<integer_argument>& stop_after_ns,
             const integer_argument& batch_deadline_ns, const integer_argument& capacity) {
            auto options = to_options(max_batch, max_delay_ns, stop_after_completions,
                                      stop_after_ns, capacity);
            options.batch_deadline_ns = to_int64(batch_deadline_ns, "batch_deadline_ns");
            return self.run(to_source(source), options);
          },
          "source"_a, py::kw_only(), "max_batch"_a = 1, "max_delay_ns"_a = 0,
          "stop_after_completions"_a = py::none(), "stop_after_ns"_a = py::none(),
          "batch_deadline_ns"_a = 60'000'000'000, "capacity"_a = 1'000'000,
          "Executes the requests of `source` until it is finished or a limit is reached. Raises "
          "ValueError for bad arguments and RuntimeError if the runner cannot be used. Errors "
          "during the run are in the outcome.")
      .def(
          "stop",
          [](python_runner& self, const real_argument& grace_s) {
            self.stop(to_span_ns(grace_s, "grace_s"));
          },
          "grace_s"_a = 3600.0,
          "Ends the run in progress, from any thread. Batches in flight may take `grace_s` more "
          "seconds.")
      .def("close", &python_runner::close,
           "Ends the run in progress, closes the executors, ends the threads and releases the "
           "executors for other runners, from any thread. If one of its own executors calls it, "
           "the call does not wait.");

  m.def(
      "simulate",
      [](const source_argument& given_source, const integer_argument& executors,
         const py::object& service_ns, const integer_argument& max_batch,
         const integer_argument& max_delay_ns,
         const std::optional<integer_argument>& stop_after_completions,
         const std::optional<integer_argument>& stop_after_ns, const integer_argument& capacity) {
        const auto source = to_source(given_source);
        const auto options =
            to_options(max_batch, max_delay_ns, stop_after_completions, stop_after_ns, capacity);
        const std::size_t workers = to_count(executors, "executors");
        const auto table = service_table(service_ns);
        return without_gil([&] {
          return python_outcome{
              gpubench::simulate(*source, workers, table, options, signal_check())};
        });
      },
      "source"_a, py::kw_only(), "executors"_a = 1, "service_ns"_a, "max_batch"_a = 1,
      "max_delay_ns"_a = 0, "stop_after_completions"_a = py::none(), "stop_after_ns"_a = py::none(),
      "capacity"_a = 1'000'000,
      "The same as a runner, in simulated time: exact, immediate and deterministic. Each batch "
      "takes the next service time, in the order of departure. Ctrl-C, or another exception of a "
      "signal handler, ends it within a second without a result.");

  bind_fleet(m);

  m.def("abandoned_workers", &gpubench::abandoned_workers,
        "How many workers of this process were abandoned because their executor did not return. If "
        "it is not 0, end the process by flushing its output and calling os._exit().");

  bind_cuda(m);
  refuse_uninitialised_objects(m);
  refuse_uninitialised_objects(m.attr("cuda"));

  py::module_::import("atexit").attr("register")(py::cpp_function(&close_all_runners));
}
