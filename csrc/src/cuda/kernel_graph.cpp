#include "cuda/kernel_graph.hpp"

#include "cuda/driver_api.hpp"

namespace gpubench::cuda {
namespace {

kernel_node_params on_one_thread(CUfunc_st* kernel, void** arguments) {
  return {kernel, 1, 1, 1, 1, 1, 1, 0, arguments, nullptr};
}

CUgraph_st* make_graph(const context& on) {
  const current_context current(on);
  CUgraph_st* made = nullptr;
  load_driver().cuGraphCreate(&made, 0);
  return made;
}

CUgraphNode_st* add_node(const context& on, CUgraph_st* graph, CUfunc_st* kernel,
                         void** arguments) {
  const current_context current(on);
  const kernel_node_params parameters = on_one_thread(kernel, arguments);
  CUgraphNode_st* added = nullptr;
  load_driver().cuGraphAddKernelNode(&added, graph, nullptr, 0, &parameters);
  return added;
}

CUgraphExec_st* instantiate(const context& on, CUgraph_st* graph) {
  const current_context current(on);
  CUgraphExec_st* made = nullptr;
  load_driver().cuGraphInstantiateWithFlags(&made, graph, 0);
  return made;
}

}  // namespace

kernel_graph::kernel_graph(const shared_context& on, CUfunc_st* kernel, void** arguments)
    : kernel_(kernel),
      graph_(on, make_graph(*on)),
      node_(add_node(*on, graph_.get(), kernel, arguments)),
      executable_(on, instantiate(*on, graph_.get())) {}

void kernel_graph::set_arguments(void** arguments) {
  const kernel_node_params parameters = on_one_thread(kernel_, arguments);
  load_driver().cuGraphExecKernelNodeSetParams(executable_.get(), node_, &parameters);
}

}  // namespace gpubench::cuda
