#include "cuda/spin_kernel.hpp"

namespace gpubench::cuda {

// tests/python/core/test_spin_kernel.py assembles this for every architecture that the machine's
// ptxas knows.
const char* const spin_ptx = R"(.version 6.4
.target sm_70
.address_size 64

.visible .entry gpubench_spin(
    .param .u64 duration_ns,
    .param .u64 shown
)
{
    .reg .pred %waiting;
    .reg .u64 %duration, %shown, %first, %last, %passed;

    ld.param.u64 %duration, [duration_ns];
    ld.param.u64 %shown, [shown];
    cvta.to.global.u64 %shown, %shown;
    mov.u64 %first, %globaltimer;
again:
    mov.u64 %last, %globaltimer;
    sub.u64 %passed, %last, %first;
    setp.lt.u64 %waiting, %passed, %duration;
    @%waiting bra again;
    st.global.u64 [%shown], %first;
    st.global.u64 [%shown + 8], %last;
    ret;
}

.visible .entry gpubench_empty()
{
    ret;
}
)";

namespace {

CUmod_st* load(const context& in_context) {
  const current_context current(in_context);
  CUmod_st* loaded = nullptr;
  load_driver().cuModuleLoadData(&loaded, spin_ptx);
  return loaded;
}

CUfunc_st* find(CUmod_st* module, const char* name) {
  CUfunc_st* found = nullptr;
  load_driver().cuModuleGetFunction(&found, module, name);
  return found;
}

void launch_one_thread(CUfunc_st* kernel, const stream& on_stream, void** arguments) {
  load_driver().cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, on_stream.handle(), arguments, nullptr);
}

}  // namespace

spin_kernel::spin_kernel(const shared_context& in_context)
    : module_(in_context, load(*in_context)) {
  const current_context current(*in_context);
  spin_ = find(module_.get(), "gpubench_spin");
  empty_ = find(module_.get(), "gpubench_empty");
}

void spin_kernel::launch(const stream& on_stream, std::uint64_t duration_ns,
                         device_address times) const {
  void* arguments[] = {&duration_ns, &times};
  launch_one_thread(spin_, on_stream, arguments);
}

void spin_kernel::launch_empty(const stream& on_stream) const {
  launch_one_thread(empty_, on_stream, nullptr);
}

}  // namespace gpubench::cuda
