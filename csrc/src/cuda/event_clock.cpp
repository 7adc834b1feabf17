#include "gpubench/cuda/event_clock.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>

namespace gpubench::cuda {
namespace {

constexpr double largest_drift = largest_drift_ppm * 1e-6;

// Far above the rounding of doubles here (1e-5 ns in a run of days), far below a nanosecond.
constexpr double negligible_ns = 1e-3;

// Room for the offset at one drift: between bottom and top, both at the middle of the run, as set
// by the constraints at bottom_at and top_at.
struct strip {
  double drift;
  double bottom, bottom_at;
  double top, top_at;

  double height() const { return top - bottom; }
  double height_gained() const { return bottom_at - top_at; }  // per drift
  double centre() const { return (bottom + top) / 2; }
};

// The constraints: at device time `at` the offset is at least, or at most, so much. Device times
// and offsets are taken from a middle and a base near them, so that doubles hold them exactly.
class constraints {
 public:
  constraints(const batch_record* batches, const device_stamps* stamps, std::size_t count,
              const std::vector<clock_anchor>& anchors)
      : batches_(batches), stamps_(stamps), count_(count), anchors_(anchors) {
    std::int64_t first = std::numeric_limits<std::int64_t>::max();
    std::int64_t last = std::numeric_limits<std::int64_t>::min();
    const auto stretch = [&](std::int64_t from, std::int64_t to) {
      first = std::min(first, from);
      last = std::max(last, to);
    };
    for (std::size_t i = 0; i < count_; ++i) stretch(stamps_[i][0], stamps_[i][3]);
    for (const clock_anchor& each : anchors_) stretch(each.device_ns, each.device_ns);
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

  strip at_drift(double drift) const {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    strip room{drift, -infinity, 0, infinity, 0};
    const auto at_least = [&](std::int64_t device_ns, std::int64_t host_ns) {
      const double at = from_middle(device_ns);
      const double offset = static_cast<double>(host_ns - device_ns - base_ns_) - drift * at;
      if (offset > room.bottom) room.bottom = offset, room.bottom_at = at;
    };
    const auto at_most = [&](std::int64_t device_ns, std::int64_t host_ns) {
      const double at = from_middle(device_ns);
      const double offset = static_cast<double>(host_ns - device_ns - base_ns_) - drift * at;
      if (offset < room.top) room.top = offset, room.top_at = at;
    };
    for (std::size_t i = 0; i < count_; ++i) {
      at_least(stamps_[i][0], batches_[i].submitted_ns);
      at_most(stamps_[i][3], batches_[i].completed_ns);
    }
    for (const clock_anchor& each : anchors_) {
      at_least(each.device_ns, each.before_ns);
      at_most(each.device_ns, each.after_ns);
    }
    return room;
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

// Over drifts the height of the strip is concave and made of straight pieces, one a pair of
// constraints. From a drift with no room, Newton's method follows the piece there to where it
// reaches height 0, never past the true end of the room, and meets no piece twice.
//
// The outermost drift with room, seen from `start`; absent where no drift has room.
std::optional<strip> first_with_room(const constraints& all, double start) {
  strip here = all.at_drift(start);
  while (here.height() < -negligible_ns) {
    const double next = here.drift - here.height() / here.height_gained();
    const bool inwards = start > 0 ? next < here.drift : next > here.drift;
    if (!inwards || std::abs(next) > largest_drift) return std::nullopt;
    here = all.at_drift(next);
  }
  return here;
}

// The strip that is highest. Where the pieces at two drifts on either side of it meet, the height
// would be at least that of any strip; the pieces there take their place until it is.
strip highest(const constraints& all) {
  strip below = all.at_drift(-largest_drift);
  strip above = all.at_drift(largest_drift);
  while (below.height_gained() > 0 && above.height_gained() < 0) {
    const double fall = above.height_gained() * (above.drift - below.drift);
    const double next = below.drift + (above.height() - fall - below.height()) /
                                          (below.height_gained() - above.height_gained());
    if (!(next > below.drift && next < above.drift)) break;
    const strip between = all.at_drift(next);
    const double met = below.height() + below.height_gained() * (next - below.drift);
    if (between.height() > met - negligible_ns) return between;
    (between.height_gained() > 0 ? below : above) = between;
  }
  return below.height() > above.height() ? below : above;
}

clock_fit fit(const constraints& all) {
  const auto flattest = first_with_room(all, -largest_drift);
  const auto steepest = first_with_room(all, largest_drift);
  clock_fit found;
  clock_line& line = found.line;
  line.middle_ns = all.middle_ns();
  line.base_ns = all.base_ns();
  if (flattest && steepest) {
    line.drift = (flattest->drift + steepest->drift) / 2;
    line.above_ns = (flattest->centre() + steepest->centre()) / 2;
    // The lines that meet the constraints fan out most at the ends of the run.
    const double turned = steepest->drift - flattest->drift;
    const double at_first = flattest->top - steepest->bottom - turned * all.first();
    const double at_last = steepest->top - flattest->bottom + turned * all.last();
    found.width_ns = std::llround(std::ceil(std::max(at_first, at_last)));
  } else {
    const strip best = highest(all);
    line.drift = best.drift;
    line.above_ns = best.centre();
    found.contradiction_ns = std::llround(std::ceil(-best.height() / 2));
  }
  found.drift_ppm = line.drift * 1e6;
  return found;
}

// The line has put the stamps outside of the batch's [submitted, completed].
void move_inside(const batch_record& batch, device_stamps& stamps, clock_fit& fit) {
  const std::int64_t room = batch.completed_ns - batch.submitted_ns;
  const std::int64_t length = stamps[3] - stamps[0];
  if (length > room) {
    const double scale = static_cast<double>(room) / static_cast<double>(length);
    const std::int64_t start = stamps[0];
    for (std::int64_t& stamp : stamps) {
      stamp = batch.submitted_ns + std::llround(static_cast<double>(stamp - start) * scale);
    }
    ++fit.squeezed_batches;
    fit.largest_squeeze_ns = std::max(fit.largest_squeeze_ns, length - room);
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
