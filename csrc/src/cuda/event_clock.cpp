#include "gpubench/cuda/event_clock.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>

namespace gpubench::cuda {
namespace {

constexpr double largest_drift = largest_drift_ppm * 1e-6;

// Far above the rounding errors of doubles here (1e-5 ns in a run of days), and far below a
// nanosecond.
constexpr double negligible_ns = 1e-3;

// The offsets that satisfy all constraints at one drift: from bottom to top, where both are the
// offset at the middle of the run. The constraints at the device times bottom_at and top_at
// determine them. If the height is negative, no offset satisfies all constraints.
struct offset_range {
  double drift;
  double bottom, bottom_at;
  double top, top_at;

  double height() const { return top - bottom; }
  double height_slope() const { return bottom_at - top_at; }  // change of the height per drift
  double centre() const { return (bottom + top) / 2; }
};

// The constraints: at a device time, the offset is at least or at most a value. Device times are
// counted from the middle of the run, and offsets from a base, so that doubles represent them
// exactly.
class constraints {
 public:
  constraints(const batch_record* batches, const device_stamps* stamps, std::size_t count,
              const std::vector<clock_anchor>& anchors)
      : batches_(batches), stamps_(stamps), count_(count), anchors_(anchors) {
    std::int64_t first = std::numeric_limits<std::int64_t>::max();
    std::int64_t last = std::numeric_limits<std::int64_t>::min();
    const auto extend = [&](std::int64_t from, std::int64_t to) {
      first = std::min(first, from);
      last = std::max(last, to);
    };
    for (std::size_t i = 0; i < count_; ++i) extend(stamps_[i][0], stamps_[i][3]);
    for (const clock_anchor& each : anchors_) extend(each.device_ns, each.device_ns);
    middle_ns_ = first + (last - first) / 2;
    first_ = from_middle(first);
    last_ = from_middle(last);
    base_ns_ = count_ > 0 ? batches_[0].submitted_ns - stamps_[0][0]
                          : anchors_[0].before_ns - anchors_[0].device_ns;
  }

  std::int64_t middle_ns() const { return middle_ns_; }
  std::int64_t base_ns() const { return base_ns_; }
  double first() const { return first_; }
  double last() const { return last_; }

  offset_range at_drift(double drift) const {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    offset_range range{drift, -infinity, 0, infinity, 0};
    const auto at_least = [&](std::int64_t device_ns, std::int64_t host_ns) {
      const double at = from_middle(device_ns);
      const double offset = static_cast<double>(host_ns - device_ns - base_ns_) - drift * at;
      if (offset > range.bottom) {
        range.bottom = offset;
        range.bottom_at = at;
      }
    };
    const auto at_most = [&](std::int64_t device_ns, std::int64_t host_ns) {
      const double at = from_middle(device_ns);
      const double offset = static_cast<double>(host_ns - device_ns - base_ns_) - drift * at;
      if (offset < range.top) {
        range.top = offset;
        range.top_at = at;
      }
    };
    for (std::size_t i = 0; i < count_; ++i) {
      at_least(stamps_[i][0], batches_[i].submitted_ns);
      at_most(stamps_[i][3], batches_[i].completed_ns);
    }
    for (const clock_anchor& each : anchors_) {
      at_least(each.device_ns, each.before_ns);
      at_most(each.device_ns, each.after_ns);
    }
    return range;
  }

 private:
  double from_middle(std::int64_t device_ns) const {
    return static_cast<double>(device_ns - middle_ns_);
  }

  const batch_record* batches_;
  const device_stamps* stamps_;
  std::size_t count_;
  const std::vector<clock_anchor>& anchors_;
  std::int64_t middle_ns_;
  std::int64_t base_ns_;
  double first_;
  double last_;
};

// The height as a function of the drift is concave and piecewise linear, with one piece for each
// pair of constraints. From a drift without a solution, Newton's method follows the piece at that
// drift to the point where its height is 0. It never passes the end of the drifts with a solution,
// and it visits no piece twice.
//
// The outermost drift that satisfies all constraints, on the side of `start`. Absent if no drift
// does.
std::optional<offset_range> outermost_feasible(const constraints& all, double start) {
  offset_range here = all.at_drift(start);
  while (here.height() < -negligible_ns) {
    const double next = here.drift - here.height() / here.height_slope();
    const bool inwards = start > 0 ? next < here.drift : next > here.drift;
    if (!inwards || std::abs(next) > largest_drift) return std::nullopt;
    here = all.at_drift(next);
  }
  return here;
}

// The drift with the greatest height. The method keeps one drift below the maximum and one above
// it. Where their pieces meet, the height would be at least the maximum. The piece that is found
// there replaces one of the two, until there is no other piece.
offset_range greatest_height(const constraints& all) {
  offset_range below = all.at_drift(-largest_drift);
  offset_range above = all.at_drift(largest_drift);
  while (below.height_slope() > 0 && above.height_slope() < 0) {
    const double fall = above.height_slope() * (above.drift - below.drift);
    const double next = below.drift + (above.height() - fall - below.height()) /
                                          (below.height_slope() - above.height_slope());
    if (!(next > below.drift && next < above.drift)) break;
    const offset_range between = all.at_drift(next);
    const double at_meeting = below.height() + below.height_slope() * (next - below.drift);
    if (between.height() > at_meeting - negligible_ns) return between;
    (between.height_slope() > 0 ? below : above) = between;
  }
  return below.height() > above.height() ? below : above;
}

clock_fit fit(const constraints& all) {
  const auto flattest = outermost_feasible(all, -largest_drift);
  const auto steepest = outermost_feasible(all, largest_drift);
  clock_fit found;
  clock_line& line = found.line;
  line.middle_ns = all.middle_ns();
  line.base_ns = all.base_ns();
  if (flattest && steepest) {
    line.drift = (flattest->drift + steepest->drift) / 2;
    line.above_ns = (flattest->centre() + steepest->centre()) / 2;
    // The lines that satisfy the constraints are farthest apart at the ends of the run.
    const double drift_range = steepest->drift - flattest->drift;
    const double at_first = flattest->top - steepest->bottom - drift_range * all.first();
    const double at_last = steepest->top - flattest->bottom + drift_range * all.last();
    found.width_ns = std::llround(std::ceil(std::max(at_first, at_last)));
  } else {
    const offset_range best = greatest_height(all);
    line.drift = best.drift;
    line.above_ns = best.centre();
    found.contradiction_ns = std::llround(std::ceil(-best.height() / 2));
  }
  found.drift_ppm = line.drift * 1e6;
  return found;
}

// Moves stamps into [submitted, completed] of their batch.
void move_inside(const batch_record& batch, device_stamps& stamps, clock_fit& fit) {
  const std::int64_t available = batch.completed_ns - batch.submitted_ns;
  const std::int64_t length = stamps[3] - stamps[0];
  if (length > available) {
    const double scale = static_cast<double>(available) / static_cast<double>(length);
    const std::int64_t start = stamps[0];
    for (std::int64_t& stamp : stamps) {
      stamp = batch.submitted_ns + std::llround(static_cast<double>(stamp - start) * scale);
    }
    ++fit.squeezed_batches;
    fit.largest_squeeze_ns = std::max(fit.largest_squeeze_ns, length - available);
    return;
  }
  const std::int64_t early = batch.submitted_ns - stamps[0];
  const std::int64_t shift = early > 0 ? early : batch.completed_ns - stamps[3];
  for (std::int64_t& stamp : stamps) stamp += shift;
  ++fit.shifted_batches;
  fit.largest_shift_ns = std::max(fit.largest_shift_ns, std::abs(shift));
}

}  // namespace

std::optional<clock_fit> place_on_host_clock(const batch_record* batches, device_stamps* stamps,
                                             std::size_t count,
                                             const std::vector<clock_anchor>& anchors) {
  if (count == 0 && anchors.empty()) return std::nullopt;
  clock_fit found = fit(constraints(batches, stamps, count, anchors));
  for (std::size_t i = 0; i < count; ++i) {
    for (std::int64_t& stamp : stamps[i]) stamp = found.line.host_ns(stamp);
    const bool early = stamps[i][0] < batches[i].submitted_ns;
    const bool late = stamps[i][3] > batches[i].completed_ns;
    if (early || late) move_inside(batches[i], stamps[i], found);
  }
  return found;
}

}  // namespace gpubench::cuda
