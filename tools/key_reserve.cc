#include "tools/key_reserve.h"

#include <algorithm>

#include "tools/key_stock.h"

namespace warifu {
namespace {

constexpr auto ask_interval = std::chrono::milliseconds(250);
constexpr auto short_interval = std::chrono::milliseconds(100);  // while there is less than was asked for
constexpr auto idle_after = std::chrono::seconds(2);
constexpr std::uint64_t ahead_min = 4U << 20U;
constexpr std::uint64_t pad_margin = 1U << 20U;  // metadata of a commit

std::uint64_t pad_for(std::uint64_t bytes) {
    return static_cast<std::uint64_t>(static_cast<double>(bytes) * pad_per_share_byte) + pad_margin;
}

std::uint64_t bytes_for(std::uint64_t pad) {
    const std::uint64_t usable = pad > pad_margin ? pad - pad_margin : 0;
    return static_cast<std::uint64_t>(static_cast<double>(usable) / pad_per_share_byte);
}

}  // namespace

key_reserve::key_reserve(asio::any_io_executor core, volume_session& session, file_system& files)
    : session_(session), files_(files), wanted_(std::make_shared<event>(core)), ended_(core) {
    files_.on_cover_wanted([core, wanted = wanted_] { asio::post(core, [wanted] { wanted->set(); }); });
    asio::co_spawn(core, run(), asio::detached);
}

awaitable<void> key_reserve::stop() {
    stopping_ = true;
    wanted_->set();
    co_await ended_.wait();
}

/// Nothing will be sent any more, whatever still waits.
bool key_reserve::is_given_up() const {
    const auto writable = session_.get().check_writable();
    return !writable && (writable.error().code == errc::stale_epoch || writable.error().code == errc::read_only);
}

std::uint64_t key_reserve::target(file_system::intake now, bool wanted) {
    const std::uint64_t lately = now.came > came_ ? now.came - came_ : 0;
    came_ = now.came;
    if (wanted || lately != 0 || now.came != now.gone) wrote_at_ = steady_clock::now();
    if (steady_clock::now() - wrote_at_ > idle_after) return 0;
    return now.came - now.gone + std::clamp(4 * lately, ahead_min, files_.options().dirty_size_max);
}

/// Returns how long to wait for the next time, unless writers want more before.
awaitable<steady_clock::duration> key_reserve::ask(bool wanted) {
    if (is_given_up()) {  // writes fail by themselves, and who waits should hear of it
        files_.cover(0, ~std::uint64_t{0}, {});
        const auto none = co_await session_.reserve_key(0, 0);
        co_return none ? steady_clock::duration::max() : short_interval;
    }
    auto now = files_.taken_in();
    std::uint64_t bytes = target(now, wanted);
    if (bytes < asked_) {  // before key is given back, nobody may count on it any more
        files_.cover_less(now.gone, bytes);
        now = files_.taken_in();
        bytes = std::max(bytes, now.came - now.gone);
    }
    asked_ = bytes;
    const std::uint64_t pad = bytes == 0 ? 0 : pad_for(bytes);
    // A link is short when it lacks key for what was accepted or for what a writer waits to bring.
    const std::uint64_t needed = std::min(pad, pad_for(now.came - now.gone + now.uncovered) + 1);
    const auto found = co_await session_.reserve_key(pad, needed);
    // While keyd cannot be asked, what was covered stays so and nothing more is.
    if (!found || is_given_up()) co_return short_interval;
    files_.cover(now.gone, bytes_for(found->least), found->key_at);
    if (bytes == 0) co_return steady_clock::duration::max();
    co_return found->least < pad ? short_interval : ask_interval;
}

awaitable<void> key_reserve::run() {
    while (!stopping_) {
        const bool wanted = wanted_->is_set();
        wanted_->reset();
        const auto next = co_await ask(wanted);
        if (stopping_) break;
        if (next == short_interval) {
            co_await sleep_for(short_interval);  // writers that want more would only ask in vain
        } else {
            co_await wanted_->wait(next == steady_clock::duration::max() ? deadline::max()
                                                                         : steady_clock::now() + next);
        }
    }
    ended_.set();
}

}  // namespace warifu
