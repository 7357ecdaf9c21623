#include "fs/volume/chunk_io.h"

#include <algorithm>
#include <fmt/format.h>

#include "fs/base/failpoint.h"

namespace warifu {
namespace {

constexpr double hedge_factor = 4.0;  // of the usual time of a get
constexpr double hedge_ms_min = 20.0;
constexpr double latency_weight = 0.1;  // of the newest sample in the moving average
constexpr auto avoid_time = std::chrono::seconds(2);
constexpr auto lie_avoid_time = std::chrono::seconds(60);
constexpr std::size_t metadata_piece_size_aim = 32U << 10U;
constexpr std::size_t worker_size_min = 64U << 10U;  // less is split and reconstructed on the core thread

std::size_t shares_size(std::size_t memory_size, const scheme& shape, std::size_t most) {
    constexpr std::size_t chunk_count_min = 4;
    return std::min(std::max(memory_size, chunk_count_min * chunk_size_max * shape.n()), most);
}

}  // namespace

struct chunk_io::pending_chunk {
    chunk_id id;
    std::vector<share_put> shares;  // by site
    std::size_t size = 0;           // bytes of all shares
};

chunk_io::chunk_io(membership& members, const scheme& shape, const volume_id& volume, asio::thread_pool& pool,
                   std::shared_ptr<random_supply> randomness, std::size_t memory_size)
    : members_(members),
      shape_(shape),
      volume_(volume),
      pool_(pool),
      randomness_(std::move(randomness)),
      in_flight_(members.executor, shares_size(memory_size, shape, shares_in_flight_size_max)),
      put_done_(members.executor),
      kept_size_max_(shares_size(memory_size, shape, shares_kept_size_max)),
      idle_(members.executor) {}

awaitable<void> chunk_io::wait_idle() {
    while (outstanding_ > 0) {
        idle_.reset();
        co_await idle_.wait();
    }
}

std::uint32_t metadata_piece_payload_size(const scheme& shape) {
    const std::size_t units = std::max<std::size_t>(1, metadata_piece_size_aim / shape.unit_size());
    return static_cast<std::uint32_t>(units * shape.unit_size() - codeword_overhead);
}

void chunk_io::add_keys(const epoch_keys& keys) {
    auto points = std::make_shared<const chunk_keys>(keys.tag_point, keys.hash_point);
    const std::lock_guard lock(keys_mutex_);
    keys_[keys.epoch] = std::move(points);
}

result<chunk_io::keys_ref> chunk_io::keys_of(const ballot& epoch) const {
    const std::lock_guard lock(keys_mutex_);
    const auto found = keys_.find(epoch);
    if (found == keys_.end()) return fail(errc::not_found, "a chunk of an unknown epoch");
    return found->second;
}

chunk_io_counters chunk_io::counters() const {
    return counters_;
}

/// Any thread.
result<std::shared_ptr<chunk_io::pending_chunk>> chunk_io::split(chunk_id id, chunk_kind kind,
                                                                 const std::vector<slice>& pieces,
                                                                 random_source& random) const {
    TRY(const keys_ref keys, keys_of(id.epoch));
    std::vector<bytes_view> views;
    for (const slice& piece : pieces) views.push_back(piece.view());
    TRY(std::vector<chunk_share> shares, split_chunk(shape_, *keys, volume_, id, kind, views, random));
    auto pending = std::make_shared<pending_chunk>();
    pending->id = id;
    for (std::size_t i = 0; i < shares.size(); ++i) {
        share_put& put = pending->shares.emplace_back();
        put.chunk = id;
        put.authority = id.epoch;
        put.index.value = static_cast<std::uint8_t>(i);
        put.side = slice(std::move(shares[i].side));
        pending->size += put.side.size();
        for (buffer& piece : shares[i].pieces) {
            pending->size += piece.size();
            put.pieces.emplace_back(std::move(piece));
        }
    }
    return pending;
}

task<std::unique_ptr<random_source>> chunk_io::draw(std::size_t size, key_use use) {
    for (;;) {
        auto drawn = co_await randomness_->take(size, use);
        if (drawn) {
            waits_for_randomness_.clear();
            counters_.random_bytes += size;
            co_return drawn;
        }
        waits_for_randomness_ = drawn.error().message();
        CO_TRY_VOID(members_.check_writable());
        co_await sleep_for(retry_delay);
    }
}

task<> chunk_io::put(chunk_id id, chunk_kind kind, std::vector<slice> pieces, std::function<void()> on_its_way) {
    CO_TRY_VOID(members_.check_writable());
    std::size_t size = 0;
    std::vector<std::uint32_t> sizes;
    for (const slice& piece : pieces) {
        size += piece.size();
        sizes.push_back(static_cast<std::uint32_t>(piece.size()));
    }
    const auto lease = co_await in_flight_.take(size * shape_.n());
    CO_TRY(const auto random, co_await draw(chunk_random_size(shape_, kind, sizes), key_use::bulk));
    const auto work = [this, id, kind, &pieces, &random] { return split(id, kind, pieces, *random); };
    auto made = size >= worker_size_min ? co_await run_in(pool_, work) : work();
    if (!made) co_return fail(std::move(made).error());
    const std::shared_ptr<pending_chunk> chunk = *made;
    uncommitted_[id] = chunk;
    ++counters_.chunks_put;
    fan_out<void> calls(members_.executor);
    fan_out<void> learners(members_.executor);
    for (const site_link& link : members_.sites) {
        if (link.role == site_role::member) calls.start(link.index.value, put_at_member(link.index, chunk));
        if (link.role == site_role::learner) learners.start(link.index.value, put_at_learner(link.index, chunk));
    }
    putting_.insert(id);
    // Only when the record is certain to come behind it: nothing else is on its way, and no site learns (one that was
    // refused a record starts anew).
    const bool alone = putting_.size() == 1 && size < worker_size_min;
    if (on_its_way && alone && learners.running() == 0) on_its_way();
    co_await calls.wait_all();
    putting_.erase(id);
    put_done_.set();
    keep(chunk);
    failpoint("put.all_members");
    co_return members_.check_writable();
}

awaitable<bool> chunk_io::wait_put(std::vector<chunk_id> chunks) {
    bool waited = false;
    while (std::ranges::any_of(chunks, [this](const chunk_id& id) { return putting_.contains(id); })) {
        waited = true;
        put_done_.reset();
        co_await put_done_.wait();
    }
    co_return waited;
}

/// Keeps the shares until their commit; the oldest go early when room is short (a site that then loses them drops out).
void chunk_io::keep(const std::shared_ptr<pending_chunk>& chunk) {
    kept_.push_back(chunk);
    kept_size_ += chunk->size;
    while (kept_size_ > kept_size_max_ && kept_.size() > 1) {
        kept_size_ -= kept_.front()->size;
        uncommitted_.erase(kept_.front()->id);
        kept_.pop_front();
    }
    if (kept_size_ > kept_size_max_ / 2 && commit_wanted) commit_wanted();
}

task<> chunk_io::put_at_member(share_index site, std::shared_ptr<pending_chunk> chunk) {
    const auto store = members_.site(site).store;
    while (members_.current.has(site) && members_.check_writable()) {
        share_put share = chunk->shares[site.value];
        const auto done = co_await store->put(std::move(share));
        if (done) {
            members_.waiting_for.erase(site);
            failpoint("put.one_member");
            co_return done;
        }
        const std::string why = fmt::format("{}: {}", members_.site(site).name, done.error().message());
        switch (judge(done.error())) {
            case site_verdict::authority_lost:
                members_.lose_authority("another writer took over the volume (" + why + ")");
                co_return done;
            case site_verdict::failed:
                if (members_.drop(site, done.error().message())) co_return done;
                [[fallthrough]];
            case site_verdict::wait:
                members_.waiting_for[site] = why;
                break;
        }
        co_await sleep_for(retry_delay);
    }
    co_return result<void>();
}

task<> chunk_io::put_at_learner(share_index site, std::shared_ptr<pending_chunk> chunk) {
    const outstanding counted(*this);
    const auto store = members_.site(site).store;
    share_put share = chunk->shares[site.value];
    const auto done = co_await store->put(std::move(share));
    if (!done) members_.site(site).missed = true;
    co_return done;
}

awaitable<void> chunk_io::put_again(share_index site, std::vector<chunk_id> chunks) {
    for (const chunk_id& id : chunks) {
        const auto found = uncommitted_.find(id);
        if (found == uncommitted_.end()) continue;
        const std::shared_ptr<pending_chunk> chunk = found->second;
        share_put share = chunk->shares[site.value];
        co_await members_.site(site).store->put(std::move(share));  // the append that follows tells whether it helped
    }
}

void chunk_io::committed(const std::vector<chunk_id>& chunks) {
    for (const chunk_id& id : chunks) uncommitted_.erase(id);
    std::erase_if(kept_, [&](const auto& chunk) {
        if (uncommitted_.contains(chunk->id)) return false;
        kept_size_ -= chunk->size;
        return true;
    });
}

/// Members, the most promising first; those that failed lately last.
std::vector<share_index> chunk_io::by_latency() const {
    std::vector<share_index> order = members_.members();
    const auto now = steady_clock::now();
    std::ranges::sort(order, {}, [&](share_index i) {
        const site_link& link = members_.sites[i.value];
        return std::tuple(link.avoid_until > now, link.latency_ms, i);
    });
    return order;
}

task<std::vector<slice>> chunk_io::timed_get(share_index site, chunk_id chunk, std::vector<share_range> ranges) {
    const outstanding counted(*this);
    const auto store = members_.site(site).store;
    const auto start = steady_clock::now();
    auto got = co_await store->get(chunk, ranges);
    const auto fits = [](const slice& part, const share_range& range) { return part.size() == range.size; };
    if (got && !std::ranges::equal(*got, ranges, fits)) got = fail(errc::bad_format, "it answered with other sizes");
    site_link& link = members_.site(site);
    if (got) {
        const double ms = std::chrono::duration<double, std::milli>(steady_clock::now() - start).count();
        link.latency_ms += latency_weight * (ms - link.latency_ms);
    } else {
        link.avoid_until = steady_clock::now() + avoid_time;
    }
    co_return got;
}

/// What one read needs until it is over; workers may hold it.
struct chunk_io::read_job {
    piece_ref piece;
    std::uint32_t offset = 0, size = 0;
    keys_ref keys;
    std::vector<share_range> ranges;
};

/// Verifies k answers; with more than k that do not verify, finds who lied.
task<slice> chunk_io::open_answers(std::shared_ptr<read_job> job,
                                   std::map<std::size_t, result<std::vector<slice>>>& answers) {
    auto shares = std::make_shared<std::vector<fetched_share>>();
    auto bytes = std::make_shared<std::vector<slice>>();  // keeps the views alive on the worker
    for (auto& [site, answer] : answers) {
        if (!answer) continue;
        fetched_share share;
        share.index.value = static_cast<std::uint8_t>(site);
        share.piece = answer->at(0).view();
        if (answer->size() > 1) share.tags = answer->at(1).view();
        shares->push_back(share);
        bytes->insert(bytes->end(), answer->begin(), answer->end());
    }
    const auto work = [this, job, shares, bytes]() -> result<liar_report> {
        if (shares->size() > shape_.k())
            return find_liars(shape_, *job->keys, volume_, job->piece, job->offset, job->size, *shares);
        liar_report report;
        TRY(report.bytes, open_range(shape_, *job->keys, volume_, job->piece, job->offset, job->size, *shares));
        return report;
    };
    result<liar_report> report = fail(errc::cancelled);
    if (job->size >= worker_size_min)
        report = co_await run_in(pool_, work);
    else
        report = work();
    if (!report) co_return fail(std::move(report).error());
    for (const share_index liar : report->differ) {
        ++counters_.lies;
        site_link& link = members_.site(liar);
        link.reason = "its shares contradict the others";
        link.avoid_until = steady_clock::now() + lie_avoid_time;
    }
    co_return std::move(report->bytes);
}

task<slice> chunk_io::read(piece_ref piece, std::uint32_t offset, std::uint32_t size) {
    auto job = std::make_shared<read_job>();
    job->piece = piece;
    job->offset = offset;
    job->size = size;
    CO_TRY(job->keys, keys_of(piece.name.chunk.epoch));
    CO_TRY(const auto plan, read_plan(shape_, piece, offset, size));
    for (const fetch_range& part : plan) {
        share_range range;
        range.part = part.part;
        range.offset = part.offset;
        range.size = part.size;
        job->ranges.push_back(range);
    }
    ++counters_.reads;
    const deadline until = deadline_in_ms(request_timeout_ms);
    for (;;) {
        auto got = co_await try_read(job);
        const bool may_pass = !got && got.error().code == errc::missing_shares;
        if (!may_pass || members_.stopping || steady_clock::now() >= until) co_return got;
        co_await sleep_for(retry_delay);  // a site that was restarted is being connected to again
    }
}

task<slice> chunk_io::try_read(std::shared_ptr<read_job> job) {
    const std::vector<share_index> order = by_latency();
    fan_out<std::vector<slice>> calls(members_.executor);
    std::size_t asked = 0;
    double usual_ms = hedge_ms_min / hedge_factor;
    const auto ask = [&] {
        const share_index site = order[asked++];
        usual_ms = std::max(usual_ms, members_.site(site).latency_ms);
        calls.start(site.value, timed_get(site, job->piece.name.chunk, job->ranges));
    };
    while (asked < order.size() && asked < shape_.k()) ask();
    std::size_t good = 0;
    for (std::size_t seen = 0;;) {
        const auto hedge_after = std::chrono::microseconds(static_cast<std::int64_t>(1000 * hedge_factor * usual_ms));
        co_await calls.wait_change(asked < order.size() ? steady_clock::now() + hedge_after : deadline::max());
        if (calls.done().size() == seen && asked >= order.size() && calls.running() == 0) break;
        if (calls.done().size() == seen) {
            if (asked < order.size()) ask();
            ++counters_.hedged_reads;
            continue;
        }
        seen = calls.done().size();
        good = static_cast<std::size_t>(
            std::ranges::count_if(calls.done(), [](const auto& answer) { return answer.second.has_value(); }));
        if (good >= shape_.k()) {
            auto opened = co_await open_answers(job, calls.done());
            if (opened || opened.error().code != errc::bad_tag) co_return opened;
        }
        if (good + calls.running() < shape_.k() || good >= shape_.k()) {  // too few are coming, or somebody lied
            if (asked < order.size())
                ask();
            else if (calls.running() == 0)
                break;
        }
    }
    if (good >= shape_.k()) co_return fail(errc::bad_tag, "the sites' shares contradict each other");
    std::string failures;
    for (auto& [site, answer] : calls.done())
        if (!answer) failures += fmt::format("; {}: {}", members_.sites[site].name, answer.error().message());
    co_return fail(errc::missing_shares,
                   fmt::format("{} of the {} shares that are needed{}", good, shape_.k(), failures));
}

/// A chunk's whole share as one site gave it.
struct chunk_io::fetched_whole {
    share_description description;
    slice side;
    std::vector<slice> pieces;  // empty where removed
};

task<chunk_io::fetched_whole> chunk_io::fetch_whole(share_index site, chunk_id id) {
    const auto store = members_.site(site).store;
    fetched_whole whole;
    CO_TRY(whole.description, co_await store->describe(id));
    std::vector<share_range> ranges;
    share_range range;
    range.part = side_part;
    range.size = whole.description.side_size;
    ranges.push_back(range);
    for (std::uint32_t i = 0; i < whole.description.piece_sizes.size(); ++i) {
        range.part = i;
        range.size = whole.description.piece_sizes[i];
        if (range.size != 0) ranges.push_back(range);
    }
    std::vector<slice> all;
    for (std::size_t at = 0; at < ranges.size(); at += get_range_count_max) {
        const auto first = ranges.begin() + static_cast<std::ptrdiff_t>(at);
        const auto count = std::min(get_range_count_max, ranges.size() - at);
        CO_TRY(auto part,
               co_await store->get(id, std::vector<share_range>(first, first + static_cast<std::ptrdiff_t>(count))));
        std::ranges::move(part, std::back_inserter(all));
    }
    if (all.size() != ranges.size()) co_return fail(errc::bad_format, "a site answered another number of ranges");
    whole.side = all[0];
    std::size_t next = 1;
    for (const std::uint32_t size : whole.description.piece_sizes)
        whole.pieces.push_back(size != 0 ? all[next++] : slice());
    co_return whole;
}

task<> chunk_io::heal_chunk(share_index target, chunk_id id, chunk_kind kind, std::vector<share_index> also) {
    CO_TRY(const keys_ref keys, keys_of(id.epoch));
    std::vector<std::pair<share_index, fetched_whole>> found;
    error last(errc::not_found);
    std::vector<share_index> sources = by_latency();
    std::erase_if(also, [&](share_index site) { return std::ranges::find(sources, site) != sources.end(); });
    sources.insert(sources.end(), also.begin(), also.end());
    for (const share_index site : sources) {
        if (found.size() == shape_.k()) break;
        auto whole = co_await fetch_whole(site, id);
        if (whole)
            found.emplace_back(site, std::move(*whole));
        else
            last = whole.error();
    }
    if (found.size() < shape_.k()) co_return fail(last);
    auto rebuilt = co_await run_in(pool_, [&]() -> result<chunk_share> {
        std::vector<whole_share> shares;
        for (const auto& [site, whole] : found) {
            whole_share& share = shares.emplace_back();
            share.index = site;
            share.side = whole.side.view();
            for (const slice& piece : whole.pieces) share.pieces.push_back(piece.view());
        }
        return rebuild_share(shape_, *keys, volume_, id, kind, target, shares);
    });
    if (!rebuilt) co_return fail(std::move(rebuilt).error());
    co_return co_await put_healed(target, id, std::move(*rebuilt), found.front().second.description.policy);
}

/// Pieces that were removed elsewhere are put as a placeholder and removed at once: a store takes no empty piece.
task<> chunk_io::put_healed(share_index target, chunk_id id, chunk_share share, policy_id policy) {
    share_put put;
    put.chunk = id;
    put.authority = members_.authority;
    put.index = target;
    put.policy = policy;
    put.side = slice(std::move(share.side));
    share_removal removal;
    removal.chunk = id;
    for (std::uint32_t i = 0; i < share.pieces.size(); ++i) {
        if (share.pieces[i].empty()) {
            removal.pieces.push_back(i);
            share.pieces[i] = buffer::zeroed(sub_block_step);
        }
        put.pieces.emplace_back(std::move(share.pieces[i]));
    }
    const auto store = members_.site(target).store;
    CO_TRY_VOID(co_await store->put(std::move(put)));
    if (removal.pieces.empty()) co_return result<void>();
    std::vector<share_removal> removals;
    removals.push_back(std::move(removal));
    co_return co_await store->remove(members_.authority, std::move(removals));
}

}  // namespace warifu
