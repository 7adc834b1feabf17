// The load balancer of a fleet: which instance gets a request.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gpubench/fleet.hpp"
#include "random.hpp"

namespace gpubench {

// The instances that serve, in groups with the same number of unfinished requests.
class balancer {
 public:
  balancer(balancing_rule rule, std::uint64_t seed)
      : by_requests_(rule == balancing_rule::least_requests),
        random_(stream(seed, balancing_stream)) {}

  bool empty() const noexcept { return size_ == 0; }

  void add(std::size_t instance) {
    if (places_.size() <= instance) places_.resize(instance + 1);
    insert(instance, 0);
    ++size_;
  }

  void remove(std::size_t instance) {
    erase(instance);
    places_[instance].serves = false;
    --size_;
  }

  // An instance that does not serve is ignored.
  void set_requests(std::size_t instance, std::size_t requests) {
    if (!by_requests_ || instance >= places_.size() || !places_[instance].serves) return;
    erase(instance);
    insert(instance, requests);
  }

  // REQUIRES: an instance serves.
  std::size_t choose() {
    while (groups_[least_].empty()) ++least_;
    const auto& group = groups_[least_];
    return group.size() == 1 ? group[0] : group[below(random_, group.size())];
  }

 private:
  struct place {
    std::size_t group = 0;
    std::size_t index = 0;
    bool serves = false;
  };

  void insert(std::size_t instance, std::size_t group) {
    if (groups_.size() <= group) groups_.resize(group + 1);
    places_[instance] = {group, groups_[group].size(), true};
    groups_[group].push_back(instance);
    least_ = std::min(least_, group);
  }

  void erase(std::size_t instance) {
    const place from = places_[instance];
    auto& group = groups_[from.group];
    group[from.index] = group.back();
    places_[group[from.index]].index = from.index;
    group.pop_back();
  }

  const bool by_requests_;
  generator random_;
  std::vector<std::vector<std::size_t>> groups_;  // by the number of unfinished requests
  std::vector<place> places_;                     // by instance
  std::size_t least_ = 0;                         // no group before it has an instance
  std::size_t size_ = 0;
};

}  // namespace gpubench
