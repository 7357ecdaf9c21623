#include "keyd/memory_broker.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "fs/async/wait.h"
#include "fs/base/assert.h"
#include "fs/base/buffer.h"
#include "fs/base/limits.h"
#include "keyd/interval_set.h"
#include "keyd/limits.h"

namespace warifu {
namespace {

constexpr auto wait_step = std::chrono::milliseconds(2);

std::uint64_t mix(std::uint64_t x) {  // splitmix64
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31U);
}

/// The stream's content is a function of seed, stream and offset, so both ends see the same bytes.
void fill_content(std::uint64_t key, std::uint64_t offset, bytes_span out) {
    for (std::size_t i = 0; i < out.size();) {
        const std::uint64_t at = offset + i;
        const std::uint64_t word = mix(key ^ mix(at / 8));
        const std::size_t skip = at % 8;
        const std::size_t count = std::min<std::size_t>(8 - skip, out.size() - i);
        std::memcpy(out.data() + i, reinterpret_cast<const std::byte*>(&word) + skip, count);
        i += count;
    }
}

class memory_window final : public pad_window {
  public:
    memory_window(stream_name stream, pad_range range, std::uint64_t key)
        : pad_window(std::move(stream), range), memory_(range.size) {
        fill_content(key, range.offset, memory_.span());
        bytes_ = memory_.span();
    }

  private:
    buffer memory_;  // wiped when destroyed
};

}  // namespace

/// What one end of one stream remembers.
struct end_accounts {
    interval_set gone;  // spent or missing, hello regions included
    std::set<std::uint64_t> hello_spent;
    std::map<std::uint64_t, unsigned> looks;      // peeks of a slot since it was last spent
    std::map<std::uint64_t, std::uint64_t> held;  // offset -> size of windows handed out and not released
    std::uint64_t floor = 0;                      // skip_to: all below is spent for good
};

struct memory_pads::snapshot {
    std::map<stream_name, end_accounts> ends;
    std::uint64_t random_taken = 0;
};

struct memory_pads::state {
    explicit state(memory_pads_options o) : options(o) {}

    const memory_pads_options options;
    mutable std::mutex mutex;                   // guards all below
    std::map<stream_name, std::uint64_t> size;  // bytes delivered so far to a stream
    std::map<std::string, snapshot> sites;
    std::set<std::string> down;

    std::uint64_t hello_size() const { return std::max<std::uint64_t>(4096, options.block_size / 1024); }
    std::uint64_t key_of(const stream_name& stream) const {
        std::uint64_t key = options.seed;
        for (const char c : stream.sender + '\n' + stream.receiver) key = mix(key ^ static_cast<std::uint64_t>(c));
        return key;
    }
    void deliver(const stream_name& stream, std::uint64_t bytes) {
        const std::uint64_t from = size[stream];
        const std::uint64_t to = from + round_up(bytes, options.block_size);
        for (const auto& site : {stream.sender, stream.receiver})
            for (std::uint64_t block = from; block < to; block += options.block_size)
                sites[site].ends[stream].gone.add(block, block + hello_size());
        size[stream] = to;
    }
    std::uint64_t free_bytes(const end_accounts& end, const stream_name& stream) const {
        const std::uint64_t all = size.at(stream);
        return all - end.gone.overlap(0, all);
    }
    /// The accounts of `site`'s end, or why there are none. `sender` says which end it must be; nullopt: either.
    result<end_accounts*> find(const std::string& site, const stream_name& stream, std::optional<bool> sender) {
        if (down.contains(site)) return fail(errc::unreachable, "keyd is down");
        if (!size.contains(stream)) return fail(errc::not_found, "no such link");
        const bool is_sender = stream.sender == site;
        if (!is_sender && stream.receiver != site) return fail(errc::not_found, "no such link at this site");
        if (sender && *sender != is_sender) return fail(errc::bad_argument, "wrong end of the stream");
        return &sites[site].ends[stream];
    }
    result<pad_range> claim(const std::string& site, const stream_name& stream, std::uint64_t size_min,
                            std::uint64_t size_want, key_use use) {
        TRY(end_accounts* const end, find(site, stream, true));
        const std::uint64_t all = size.at(stream);
        const std::uint64_t stock = free_bytes(*end, stream);
        const std::uint64_t reserve = use == key_use::control ? 0 : options.control_reserve;
        if (stock < size_min + reserve) return fail(errc::no_key, "the stream is used up");
        const std::uint64_t limit = std::min(size_want, stock - reserve);
        for (auto gap = end->gone.first_gap(0, all); gap; gap = end->gone.first_gap(gap->end, all)) {
            if (gap->size() < size_min) continue;
            const pad_range range{gap->begin, std::min(gap->size(), limit)};
            spend(*end, range);
            return range;
        }
        return fail(errc::no_key, "no run of that size is left");
    }
    static void spend(end_accounts& end, pad_range range) {
        end.gone.add(range.offset, range.end());
        end.held[range.offset] = range.size;
    }
};

namespace {

class memory_broker final : public pad_broker {
    template <typename Work>
    auto locked(Work work) {
        const std::lock_guard lock(state_->mutex);
        return work(*state_);
    }

  public:
    memory_broker(std::shared_ptr<memory_pads::state> state, std::string site)
        : state_(std::move(state)), site_(std::move(site)) {}

    claim strength() const override { return state_->options.strength; }

    task<std::unique_ptr<pad_window>> claim_send(stream_name stream, session_id, std::uint64_t size_min,
                                                 std::uint64_t size_want, key_use use, deadline until) override {
        if (size_min == 0 || size_min > size_want) co_return fail(errc::bad_argument, "window sizes");
        if (size_want > pad_window_size_max) co_return fail(errc::too_large, "window size");
        for (;;) {
            auto range = locked([&](auto& s) { return s.claim(site_, stream, size_min, size_want, use); });
            if (range) co_return window(stream, *range);
            if (range.error().code != errc::no_key || steady_clock::now() >= until)
                co_return fail(std::move(range).error());
            co_await sleep_for(wait_step);
        }
    }

    task<std::unique_ptr<pad_window>> claim_receive(stream_name stream, session_id, pad_range range) override {
        if (range.size == 0 || range.size > pad_window_size_max) co_return fail(errc::too_large, "window size");
        const auto claimed = locked([&](auto& s) -> result<void> {
            TRY(end_accounts* const end, s.find(site_, stream, false));
            if (range.end() < range.offset || range.end() > s.size.at(stream))
                return fail(errc::conflict, "not delivered here");
            if (end->gone.intersects(range.offset, range.end())) {
                end->gone.add(range.offset, range.end());
                return fail(errc::conflict, "spent or missing here");
            }
            s.spend(*end, range);
            return {};
        });
        if (!claimed) co_return fail(claimed.error());
        co_return window(stream, range);
    }

    task<> skip_to(stream_name stream, std::uint64_t offset) override {
        co_return locked([&](auto& s) -> result<void> {
            TRY(end_accounts* const end, s.find(site_, stream, std::nullopt));
            end->gone.add(0, offset);
            end->floor = std::max(end->floor, offset);
            return {};
        });
    }

    task<std::uint64_t> next_free(stream_name stream, std::uint64_t from) override {
        co_return locked([&](auto& s) -> result<std::uint64_t> {
            TRY(end_accounts* const end, s.find(site_, stream, std::nullopt));
            const auto gap = end->gone.first_gap(from, s.size.at(stream));
            if (!gap) return fail(errc::no_key, "nothing is left");
            return gap->begin;
        });
    }

    task<hello_slot> take_hello_slot(stream_name stream, deadline until) override {
        for (;;) {
            auto offset = locked([&](auto& s) -> result<std::uint64_t> {
                TRY(end_accounts* const end, s.find(site_, stream, true));
                for (std::uint64_t block = 0; block < s.size.at(stream); block += s.options.block_size)
                    for (std::uint64_t i = 0; i + hello_slot_size <= s.hello_size(); i += hello_slot_size)
                        if (end->hello_spent.insert(block + i).second) return block + i;
                return fail(errc::no_key, "no hello slot is left");
            });
            if (offset) co_return slot(stream, *offset);
            if (offset.error().code != errc::no_key || steady_clock::now() >= until)
                co_return fail(std::move(offset).error());
            co_await sleep_for(wait_step);
        }
    }

    task<hello_slot> peek_hello_slot(stream_name stream, std::uint64_t offset) override {
        const auto found = locked([&](auto& s) -> result<void> {
            TRY(end_accounts* const end, s.find(site_, stream, false));
            TRY_VOID(check_slot(s, stream, offset));
            if (end->hello_spent.contains(offset)) return fail(errc::conflict, "the hello slot is spent");
            if (++end->looks[offset] > hello_looks_max) return fail(errc::conflict, "too many attempts");
            return {};
        });
        if (!found) co_return fail(found.error());
        co_return slot(stream, offset);
    }

    task<> spend_hello_slot(stream_name stream, std::uint64_t offset) override {
        co_return locked([&](auto& s) -> result<void> {
            TRY(end_accounts* const end, s.find(site_, stream, false));
            TRY_VOID(check_slot(s, stream, offset));
            if (!end->hello_spent.insert(offset).second) return fail(errc::conflict, "the hello slot is spent");
            end->looks.erase(offset);
            return {};
        });
    }

    task<> release(stream_name stream, pad_range window, std::uint64_t used_to) override {
        co_return locked([&](auto& s) -> result<void> {
            TRY(end_accounts* const end, s.find(site_, stream, std::nullopt));
            const auto held = end->held.find(window.offset);
            if (held == end->held.end() || held->second != window.size) return fail(errc::not_found, "not held");
            if (used_to < window.offset || used_to > window.end()) return fail(errc::bad_argument, "used_to");
            end->held.erase(held);
            end->gone.subtract(std::max(used_to, end->floor), window.end());
            return {};
        });
    }

    task<stock> available(std::string peer) override {
        co_return locked([&](auto& s) -> result<stock> {
            const stream_name out{site_, peer}, in{peer, site_};
            TRY(end_accounts* const sender, s.find(site_, out, true));
            TRY(end_accounts* const receiver, s.find(site_, in, false));
            return stock{s.free_bytes(*sender, out), s.free_bytes(*receiver, in)};
        });
    }

    task<byte_vector> take_random(std::size_t size, deadline until) override {
        for (;;) {
            auto from = locked([&](auto& s) -> result<std::uint64_t> {
                if (s.down.contains(site_)) return fail(errc::unreachable, "keyd is down");
                auto& taken = s.sites[site_].random_taken;
                if (s.options.random_stock - taken < size) return fail(errc::no_key, "the random pool is used up");
                return std::exchange(taken, taken + size);
            });
            if (from) {
                byte_vector out(size);
                fill_content(mix(state_->key_of(stream_name{site_, site_})), *from, out);
                co_return out;
            }
            if (from.error().code != errc::no_key || steady_clock::now() >= until)
                co_return fail(std::move(from).error());
            co_await sleep_for(wait_step);
        }
    }

  private:
    static result<void> check_slot(const memory_pads::state& s, const stream_name& stream, std::uint64_t offset) {
        const std::uint64_t place = offset % s.options.block_size;
        if (offset >= s.size.at(stream)) return fail(errc::not_found, "this end lacks the block");
        if (place % hello_slot_size != 0 || place + hello_slot_size > s.hello_size())
            return fail(errc::bad_argument, "not the place of a hello slot");
        return {};
    }
    std::unique_ptr<pad_window> window(const stream_name& stream, pad_range range) const {
        return std::make_unique<memory_window>(stream, range, state_->key_of(stream));
    }
    hello_slot slot(const stream_name& stream, std::uint64_t offset) const {
        hello_slot out;
        out.offset = offset;
        fill_content(state_->key_of(stream), offset, out.key);
        return out;
    }

    std::shared_ptr<memory_pads::state> state_;
    std::string site_;
};

}  // namespace

memory_pads::memory_pads(memory_pads_options options) : state_(std::make_shared<state>(options)) {
    WARIFU_ASSERT(options.block_size >= 8192);
}

memory_pads::~memory_pads() = default;

void memory_pads::link(const std::string& a, const std::string& b) {
    const std::lock_guard lock(state_->mutex);
    for (const auto& stream : {stream_name{a, b}, stream_name{b, a}}) {
        state_->size[stream] = 0;
        state_->deliver(stream, state_->options.stock);
    }
}

std::unique_ptr<pad_broker> memory_pads::end(const std::string& site) {
    return std::make_unique<memory_broker>(state_, site);
}

void memory_pads::add_stock(const stream_name& stream, std::uint64_t size) {
    const std::lock_guard lock(state_->mutex);
    state_->deliver(stream, size);
}

void memory_pads::lose(const std::string& site, const stream_name& stream, pad_range range) {
    const std::lock_guard lock(state_->mutex);
    state_->sites[site].ends[stream].gone.add(range.offset, range.end());
}

void memory_pads::set_down(const std::string& site, bool down) {
    const std::lock_guard lock(state_->mutex);
    if (down)
        state_->down.insert(site);
    else
        state_->down.erase(site);
}

std::shared_ptr<const memory_pads::snapshot> memory_pads::save(const std::string& site) const {
    const std::lock_guard lock(state_->mutex);
    return std::make_shared<const snapshot>(state_->sites[site]);
}

void memory_pads::restore(const std::string& site, const std::shared_ptr<const snapshot>& old) {
    const std::lock_guard lock(state_->mutex);
    state_->sites[site] = *old;
    for (auto& [stream, end] : state_->sites[site].ends) end.held.clear();
}

}  // namespace warifu
