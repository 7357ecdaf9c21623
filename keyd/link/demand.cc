#include "keyd/link/demand.h"

#include <algorithm>
#include <cmath>

#include "fs/base/limits.h"

namespace warifu {
namespace {

constexpr double use_window_s = 4;     // of the average of recent use
constexpr double weight_use_s = 10;    // so much use to come counts as missing
constexpr double share_half_life_s = 4;
constexpr auto peer_patience = std::chrono::seconds(2);
constexpr auto peer_idle_pause = std::chrono::seconds(30);
constexpr std::uint64_t key_size_auto_max = 1U << 20U;

double seconds(steady_clock::duration d) {
    return std::chrono::duration<double>(d).count();
}

}  // namespace

void link_demand::observe(deadline now, const stream_level& level) {
    if (observed_ != deadline{} && now > observed_) {
        const double elapsed = seconds(now - observed_);
        const double used = level.taken > level_.taken ? static_cast<double>(level.taken - level_.taken) : 0.0;
        const double keep = std::exp(-elapsed / use_window_s);
        use_rate_ = use_rate_ * keep + used / elapsed * (1 - keep);
    }
    if (now > observed_) observed_ = now;
    level_ = level;
    if (level.available >= target_) filling_ = false;
    if (level.available < target_ - target_ / 4) filling_ = true;
}

std::uint64_t link_demand::weight() const {
    const std::uint64_t missing = target_ > level_.available ? target_ - level_.available : 0;
    return filling_ ? missing + static_cast<std::uint64_t>(use_rate_ * weight_use_s) : 0;
}

void link_demand::decay(deadline now) {
    if (now <= decayed_) return;
    const double keep = std::exp2(-seconds(now - decayed_) / share_half_life_s);
    own_ *= keep;
    peer_ *= keep;
    decayed_ = now;
}

void link_demand::own_took(deadline now, std::uint64_t bytes) {
    decay(now);
    own_ += static_cast<double>(bytes);
}

void link_demand::peer_took(deadline now, std::uint64_t bytes) {
    decay(now);
    peer_ += static_cast<double>(bytes);
    peer_idle_until_ = waits_since_ = {};
}

bool link_demand::my_turn(deadline now, std::uint64_t peer_weight, std::uint64_t size) {
    decay(now);
    if (peer_weight == 0) peer_idle_until_ = {};  // when it wants key again, it is waited for again
    const double own_weight = std::max<double>(1, static_cast<double>(weight()));
    const bool behind = own_ * static_cast<double>(peer_weight) <= (peer_ + static_cast<double>(size)) * own_weight;
    if (peer_weight == 0 || !is_short(now) || now < peer_idle_until_ || behind) {
        waits_since_ = {};
        return true;
    }
    if (waits_since_ == deadline{}) waits_since_ = now;
    if (now - waits_since_ <= peer_patience) return false;
    peer_idle_until_ = now + peer_idle_pause;
    return true;
}

void block_sizer::filled_in(std::chrono::nanoseconds elapsed) {
    if (elapsed < std::chrono::milliseconds(250)) size_ = std::min(size_ * 2, max_);
}

void block_sizer::closed_short(std::uint64_t size) {
    size_ = std::clamp(round_up(size, 4096), block_size_least, std::max(size_ / 2, block_size_least));
}

result<std::uint64_t> choose_key_size(const delivery_status& status, std::uint64_t wanted, std::uint64_t block_size) {
    const std::uint64_t most = std::min(status.key_size_max, link_key_size_max);
    const std::uint64_t least = std::max<std::uint64_t>(status.key_size_min, 1);
    if (most < least) return fail(errc::unsupported, "the key sizes of the key delivery service are of no use");
    std::uint64_t size = wanted;
    if (size == 0) {
        size = std::max(status.key_size, std::min(block_size / 16, key_size_auto_max));
        if (size > 64) size = size / 64 * 64;
    }
    return std::clamp(size, least, most);
}

round_split split_round(std::uint64_t total, std::size_t hello_wanted, std::size_t work_wanted) {
    round_split out;
    if (total < block_size_least) return out;
    const std::uint64_t room = std::min(total - block_size_least, total / 4) / control_slot_size;
    const std::size_t slots = std::min<std::size_t>(static_cast<std::size_t>(room), control_slots_per_block_max);
    out.work = static_cast<std::uint16_t>(std::min(work_wanted, slots));
    out.hello = static_cast<std::uint16_t>(std::min(hello_wanted, slots - out.work));
    out.pad = std::min((total - out.control_size()) / 4096 * 4096, link_block_size_max);
    return out;
}

}  // namespace warifu
