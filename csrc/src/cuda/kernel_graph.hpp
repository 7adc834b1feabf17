// A graph of one kernel, for models that are no more than that.
#pragma once

#include "cuda/unique_handle.hpp"

namespace gpubench::cuda {

// An executable graph that runs a kernel on one thread. Move-only.
class kernel_graph {
 public:
  // `arguments` point to the kernel's arguments, which are copied. The kernel must outlive the
  // graph. Throws cuda_error.
  kernel_graph(const shared_context& on, CUfunc_st* kernel, void** arguments);

  CUgraphExec_st* handle() const noexcept { return executable_.get(); }

  // From the next launch on. REQUIRES: the context is current. Throws cuda_error.
  void set_arguments(void** arguments);

 private:
  CUfunc_st* kernel_;
  unique_handle<CUgraph_st*, &driver::cuGraphDestroy> graph_;  // the node belongs to it
  CUgraphNode_st* node_;
  unique_handle<CUgraphExec_st*, &driver::cuGraphExecDestroy> executable_;
};

}  // namespace gpubench::cuda
