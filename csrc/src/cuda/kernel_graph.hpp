// A CUDA graph with one kernel.
#pragma once

#include "cuda/unique_handle.hpp"

namespace gpubench::cuda {

// An executable graph that runs a kernel with one thread. Move-only.
class kernel_graph {
 public:
  // `arguments` points to the arguments of the kernel, which are copied. The kernel must outlive
  // the graph. Throws cuda_error.
  kernel_graph(const shared_context& in_context, CUfunc_st* kernel, void** arguments);

  CUgraphExec_st* handle() const noexcept { return executable_.get(); }

  // Takes effect at the next launch. REQUIRES: the context is current. Throws cuda_error.
  void set_arguments(void** arguments);

 private:
  CUfunc_st* kernel_;
  unique_handle<CUgraph_st*, &driver::cuGraphDestroy> graph_;  // owns node_
  CUgraphNode_st* node_;
  unique_handle<CUgraphExec_st*, &driver::cuGraphExecDestroy> executable_;
};

}  // namespace gpubench::cuda
