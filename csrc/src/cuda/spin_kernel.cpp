#include "cuda/spin_kernel.hpp"

namespace gpubench::cuda {

// Assembled by tests/python/test_spin_kernel.py for every architecture that the ptxas of the
// machine knows.
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

CUmod_st* load(const context& on) {
  const current_context current(on);
  CUmod_st* loaded = nullptr;
  load_driver().cuModuleLoadData(&loaded, spin_ptx);
  return loaded;
}

CUfunc_st* find(CUmod_st* module, const char* name) {
  CUfunc_st* found = nullptr;
  load_driver().cuModuleGetFunction(&found, module, name);
  return found;
}

void launch_one_thread(CUfunc_st* kernel, const stream& on, void** arguments) {
  load_driver().cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, on.handle(), arguments, nullptr);
}

}  // namespace

spin_kernel::spin_kernel(const shared_context& on) : module_(on, load(*on)) {
  const current_context current(*on);
  spin_ = find(module_.get(), "gpubench_spin");
  empty_ = find(module_.get(), "gpubench_empty");
}

void spin_kernel::launch(const stream& on, std::uint64_t duration_ns, device_address shown) const {
  void* arguments[] = {&duration_ns, &shown};
  launch_one_thread(spin_, on, arguments);
}

void spin_kernel::launch_empty(const stream& on) const {
  launch_one_thread(empty_, on, nullptr);
}

}  // namespace gpubench::cuda
