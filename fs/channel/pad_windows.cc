#include "fs/channel/pad_windows.h"

#include "fs/base/assert.h"

namespace warifu {
namespace {

constexpr auto claim_wait = std::chrono::milliseconds(500);
constexpr auto no_key_pause = std::chrono::milliseconds(200);
constexpr std::size_t frame_text_min = 2;  // a lane and a byte
constexpr auto busy_window_time = std::chrono::milliseconds(500);
constexpr auto idle_window_time = std::chrono::seconds(5);

std::uint64_t usable(const pad_window& window) {
    constexpr std::uint64_t overhead = mac_point_size + mac_mask_size;
    return window.range().size > overhead ? window.range().size - overhead : 0;
}

}  // namespace

awaitable<void> release_window(std::shared_ptr<pad_broker> broker, stream_name stream, pad_range range,
                               std::uint64_t used_to) {
    (void)co_await broker->release(std::move(stream), range, used_to);
}

std::uint64_t skip_target(const pad_range& range, std::uint64_t next_free) {
    if (next_free == 0) return 0;
    return next_free > range.offset ? next_free : range.end();
}

task<> settle_refusal(pad_direction direction, pad_range range, std::uint64_t next_free) {
    const std::uint64_t target = skip_target(range, next_free);
    if (target == 0) {
        co_await release_window(direction.broker, direction.stream, range, range.offset);
        co_return fail(errc::no_key, "the peer's end of the link has no such key yet");
    }
    CO_TRY_VOID(co_await direction.broker->skip_to(direction.stream, target));
    co_await release_window(direction.broker, direction.stream, range, std::min(target, range.end()));
    co_return fail(errc::conflict, "the peer's end had spent or lacks this key: skipped");
}

pad_sender::pad_sender(asio::any_io_executor executor, pad_direction direction, owned_window first, hooks h)
    : executor_(executor),
      direction_(std::move(direction)),
      hooks_(std::move(h)),
      work_(executor),
      answered_(executor) {
    windows_.push_back(std::move(first));
    start_front();
}

void pad_sender::start_front() {
    pad_window& window = *windows_.front().window;
    sealer_.start_window(window.range().offset, window.bytes());
    pad_used_ += mac_point_size;
    front_since_ = steady_clock::now();
}

void pad_sender::retire_front() {
    adapt();
    pad_window& front = *windows_.front().window;
    front.cleaned(sealer_.cursor() - front.range().offset);
    spent_.push_back(std::move(windows_.front().window));
    windows_.pop_front();
    start_front();
}

/// A window that lasts too short a time costs round trips, one that lasts too long is burnt if the process dies.
void pad_sender::adapt() {
    const auto lasted = steady_clock::now() - front_since_;
    if (lasted < busy_window_time) target_ = std::min<std::uint64_t>(target_ * 2, channel_window_size_max);
    if (lasted > idle_window_time) target_ = std::max<std::uint64_t>(target_ / 2, channel_window_size_min);
}

std::uint64_t pad_sender::room_total() const {
    std::uint64_t total = sealer_.room();
    for (std::size_t i = 1; i < windows_.size(); ++i) total += usable(*windows_[i].window);
    return total;
}

std::uint64_t pad_sender::data_in_hand() const {
    if (std::ranges::all_of(windows_, [](const owned_window& w) { return w.control_only; })) return 0;
    const std::uint64_t total = room_total(), kept = 2 * channel_control_reserve;
    return total > kept ? total - kept : 0;
}

std::size_t pad_sender::room(lane use) {
    while (sealer_.room() < frame_text_min && windows_.size() > 1) retire_front();
    if (stopped_ || sealer_.room() < frame_text_min) return 0;
    std::uint64_t room = std::min<std::uint64_t>(sealer_.room(), frame_payload_size_max);
    if (use == lane::link) return room;
    const auto is_for_data = [](const owned_window& w) { return !w.control_only; };
    if (use != lane::control && std::ranges::none_of(windows_, is_for_data)) return 0;
    const std::uint64_t total = room_total();
    if (total <= channel_control_reserve) return 0;
    room = std::min(room, total - channel_control_reserve);
    return room < frame_text_min ? 0 : room;
}

std::uint64_t pad_sender::room_for_message(lane use, std::uint64_t begun) const {
    const std::uint64_t total = room_total();
    if (use == lane::link) return total;
    // Masks and lane bytes, counted generously.
    const std::uint64_t frames = total / (frame_payload_size_max / 2) + 2 * windows_.size() + 1;
    const std::uint64_t kept = channel_control_reserve + begun + frames * (mac_mask_size + 1);
    return total > kept ? total - kept : 0;
}

sealer::sealed pad_sender::seal(std::span<const bytes_view> parts) {
    const auto frame = sealer_.seal(parts);
    pad_used_ += frame.body.size();
    return frame;
}

void pad_sender::written() {
    for (auto& window : spent_) {
        const pad_range range = window->range();
        asio::co_spawn(executor_, release_window(direction_.broker, direction_.stream, range, range.end()),
                       asio::detached);
    }
    spent_.clear();
    work_.set();
}

bool pad_sender::needs_more() {
    if (windows_.size() >= channel_windows_held_max) return false;
    const std::uint64_t total = room_total();
    if (total < target_ / 2) return true;
    const pad_demand demand = hooks_.demand();
    const bool only_control = std::ranges::all_of(windows_, [](const owned_window& w) { return w.control_only; });
    if (demand.data() > 0 && only_control) return true;
    // The largest message must fit; more is not held at once.
    const std::uint64_t need = std::min<std::uint64_t>(demand.all(), message_size_max) + demand.begun;
    return demand.all() > 0 && total < 2 * channel_control_reserve + need + need / 256;
}

task<owned_window> pad_sender::claim() {
    const pad_demand demand = hooks_.demand();
    // Without key for data, what is urgent may draw on the reserve at once.
    const std::uint64_t urgent =
        std::min<std::uint64_t>(demand.control, message_size_max) + 2 * channel_control_reserve;
    const bool low = room_total() < urgent + demand.begun;
    const key_use use = demand.bulk > 0 ? key_use::bulk : key_use::interactive;
    const std::uint64_t want = std::clamp<std::uint64_t>(std::max(target_, demand.all() + 2 * channel_control_reserve),
                                                         pad_window_size_min, channel_window_size_max);
    owned_window claimed;
    auto window = co_await direction_.broker->claim_send(direction_.stream, direction_.session, pad_window_size_min,
                                                         want, use, steady_clock::now());
    if (!window && window.error().code == errc::no_key) {
        starved_ = true;
        hooks_.room_changed();
        claimed.control_only = low;
        const std::uint64_t least =
            low ? std::clamp<std::uint64_t>(urgent, pad_window_size_min, channel_window_size_max) : want;
        const deadline until = steady_clock::now() + (low ? std::chrono::milliseconds(0) : claim_wait);
        window = co_await direction_.broker->claim_send(direction_.stream, direction_.session, pad_window_size_min,
                                                        least, low ? key_use::control : use, until);
    }
    if (window && !claimed.control_only) starved_ = false;
    if (!window) co_return fail(std::move(window).error());
    claimed.window = std::move(*window);
    co_return claimed;
}

awaitable<void> pad_sender::run() {
    while (!stopped_) {
        if (!needs_more()) {
            starved_ = false;
            work_.reset();
            co_await work_.wait();
            continue;
        }
        auto claimed = co_await claim();
        if (stopped_) break;
        if (!claimed) {
            co_await sleep_for(no_key_pause);
            continue;
        }
        if (!co_await offer(std::move(*claimed))) break;
    }
}

/// Offers one claimed window and waits for the answer. False when the connection cannot go on.
awaitable<bool> pad_sender::offer(owned_window claimed) {
    window_message message;
    message.range = claimed.window->range();
    offered_ = std::move(claimed);
    refusal_.reset();
    answered_.reset();
    hooks_.send_control(verb::offer_window, encode_window(message));
    const bool answered = co_await answered_.wait(deadline_in_ms(request_timeout_ms));
    if (stopped_) co_return false;
    if (!answered) {
        hooks_.fail(error(errc::timed_out, "the peer does not answer an offer of pad"));
        co_return false;
    }
    if (!refusal_) {
        refused_in_a_row_ = 0;
        co_return true;
    }
    co_await handle_refusal();
    co_return !stopped_;
}

awaitable<void> pad_sender::handle_refusal() {
    const pad_range range = offered_.window->range();
    offered_ = {};
    const auto settled = co_await settle_refusal(direction_, range, refusal_->next_free);
    if (settled.error().code == errc::no_key) {
        starved_ = true;
        hooks_.room_changed();
        co_await sleep_for(no_key_pause);
    } else if (++refused_in_a_row_ > window_offers_refused_max || settled.error().code != errc::conflict) {
        hooks_.fail(settled.error());
    }
}

result<void> pad_sender::on_confirmed(const pad_range& range) {
    if (!offered_.window || offered_.window->range() != range)
        return fail(errc::bad_format, "a pad window is confirmed that was not offered");
    windows_.push_back(std::move(offered_));
    offered_ = {};
    answered_.set();
    hooks_.room_changed();
    return {};
}

result<void> pad_sender::on_refused(const window_refusal& refusal) {
    if (!offered_.window || offered_.window->range() != refusal.range || refusal_)
        return fail(errc::bad_format, "a pad window is refused that was not offered");
    refusal_ = refusal;
    answered_.set();
    return {};
}

void pad_sender::stop() {
    stopped_ = true;
    work_.set();
    answered_.set();
}

awaitable<void> pad_sender::release_all() {
    stop();
    written();
    const std::uint64_t cursor = sealer_.cursor();
    sealer_.end_window();
    bool is_front = true;
    for (auto& entry : std::exchange(windows_, {})) {
        const pad_range range = entry.window->range();
        // r of a window in which nothing was sealed was never used either.
        const bool touched = is_front && cursor > range.offset + mac_point_size;
        entry.window.reset();
        is_front = false;
        co_await release_window(direction_.broker, direction_.stream, range, touched ? cursor : range.offset);
    }
}

pad_receiver::pad_receiver(asio::any_io_executor executor, pad_direction direction, std::unique_ptr<pad_window> first,
                           send_control send)
    : executor_(executor), direction_(std::move(direction)), send_(std::move(send)) {
    table_.add(first->range().offset, first->bytes());
    windows_.push_back(std::move(first));
}

result<bytes_view> pad_receiver::accept(const frame_header& header, bytes_view ciphertext, bytes_view tag) {
    TRY(const bytes_view pad, table_.accept(header, ciphertext, tag));
    pad_used_ += ciphertext.size() + tag.size();
    for (std::size_t finished = table_.take_finished(); finished > 0; --finished) {
        const pad_range range = windows_.front()->range();
        windows_.front()->cleaned(range.size);
        windows_.pop_front();
        pad_used_ += mac_point_size;
        asio::co_spawn(executor_, release_window(direction_.broker, direction_.stream, range, range.end()),
                       asio::detached);
    }
    return pad;
}

task<> pad_receiver::on_offer(pad_range range) {
    constexpr std::uint64_t window_size_least = mac_point_size + mac_mask_size + frame_text_min;
    if (claiming_) co_return fail(errc::bad_format, "two offers of pad at once");
    if (windows_.size() >= channel_windows_held_max || range.size > pad_window_size_max)
        co_return fail(errc::too_large, "an offer of pad over the limits");
    if (range.size < window_size_least || range.offset < windows_.back()->range().end())
        co_return fail(errc::bad_format, "an offer of pad that is out of order");
    claiming_ = true;
    auto window = co_await direction_.broker->claim_receive(direction_.stream, direction_.session, range);
    claiming_ = false;
    if (ended_) co_return result<void>{};
    if (window) {
        table_.add(range.offset, (*window)->bytes());
        windows_.push_back(std::move(*window));
        send_(verb::confirm_window, encode_window(window_message{range}));
        co_return result<void>{};
    }
    window_refusal refusal;
    refusal.range = range;
    if (window.error().code == errc::conflict) {
        const auto next_free = co_await direction_.broker->next_free(direction_.stream, range.offset);
        refusal.next_free = next_free ? *next_free : 0;
    }
    send_(verb::refuse_window, encode_window_refusal(refusal));
    co_return result<void>{};
}

awaitable<void> pad_receiver::release_all() {
    ended_ = true;
    const std::uint64_t cursor = table_.cursor();
    table_.clear();
    bool is_front = true;
    for (auto& window : std::exchange(windows_, {})) {
        const pad_range range = window->range();
        const bool touched = is_front && cursor > range.offset + mac_point_size;
        is_front = false;
        window.reset();
        co_await release_window(direction_.broker, direction_.stream, range, touched ? cursor : range.offset);
    }
}

}  // namespace warifu
