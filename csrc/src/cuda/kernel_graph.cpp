#include "cuda/kernel_graph.hpp"

#include "cuda/driver_api.hpp"

namespace gpubench::cuda {
namespace {

kernel_node_params on_one_thread(CUfunc_st* kernel, void** arguments) {
  return {kernel, 1, 1, 1, 1, 1, 1, 0, arguments, nullptr};
}

CUgraph_st* make_graph(const context& in_context) {
  const current_context current(in_context);
  CUgraph_st* made = nullptr;
  load_driver().cuGraphCreate(&made, 0);
  return made;
}

CUgraphNode_st* add_node(const context& in_context, CUgraph_st* graph, CUfunc_st* kernel,
                         void** arguments) {
  const current_context current(in_context);
  const kernel_node_params parameters = on_one_thread(kernel, arguments);
  CUgraphNode_st* added = nullptr;
  load_driver().cuGraphAddKernelNode(&added, graph, nullptr, 0, &parameters);
  return added;
}

CUgraphExec_st* instantiate(const context& in_context, CUgraph_st* graph) {
  const current_context current(in_context);
  CUgraphExec_st* made = nullptr;
  load_driver().cuGraphInstantiateWithFlags(&made, graph, 0);
  return made;
}

}  // namespace

kernel_graph::kernel_graph(const shared_context& in_context, CUfunc_st* kernel, void** arguments)
    : kernel_(kernel),
      graph_(in_context, make_graph(*in_context)),
      node_(add_node(*in_context, graph_.get(), kernel, arguments)),
      executable_(in_context, instantiate(*in_context, graph_.get())) {}

void kernel_graph::set_arguments(void** arguments) {
  const kernel_node_params parameters = on_one_thread(kernel_, arguments);
  load_driver().cuGraphExecKernelNodeSetParams(executable_.get(), node_, &parameters);
}

}  // namespace gpubench::cuda
