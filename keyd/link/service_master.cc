// The outbound stream: this end gets keys, says which, and makes the blocks.
#include <algorithm>
#include <spdlog/spdlog.h>

#include "fs/base/assert.h"
#include "keyd/link/service.h"
#include "keyd/pool/pad_file.h"

namespace warifu {

using namespace link_protocol;

namespace {

constexpr auto round_patience = std::chrono::seconds(1);  // then a block is closed with what there is
constexpr auto status_age_max = std::chrono::seconds(60);
constexpr std::size_t finishing_max = 1;             // blocks that wait for the peer while the next one is collected

}  // namespace

bool link_service::is_due() {
    const auto now = steady_clock::now();
    if (now < retry_after_) return false;
    demand_.observe(now, host_.level(outbound()));
    const bool control = store_.state().wanted(true) + store_.state().wanted(false) != 0;
    if (!demand_.wants() && !control) return false;
    return demand_.my_turn(now, peer_state_.weight, block_size());
}

/// What went wrong costs key and control pad each time: it is not tried again at the network's speed.
void link_service::hold_back() {
    retry_ms_ = std::min(std::max(2 * retry_ms_, options_.backoff_min_ms), link_retry_max_ms);
    retry_after_ = deadline_in_ms(retry_ms_);
}

/// Without work slots a session has the rest of its hello slot and no more: the next block must come soon.
std::uint64_t link_service::block_size() const {
    return store_.state().work_count() == 0 ? block_size_least : sizer_.size();
}

awaitable<void> link_service::master_loop(session_ptr session) {
    while (session->is_open() && !stopping_) {
        if (finishing_ > (store_.state().work_count() == 0 ? 0 : finishing_max)) {
            room_.reset();
            co_await room_.wait(deadline_in_ms(options_.pause_ms));
            continue;
        }
        if (!is_due()) {
            co_await pause(options_.pause_ms);
            continue;
        }
        const auto made = co_await make_block(session);
        if (made || !session->is_open() || stopping_) continue;
        if (made.error().code == errc::no_key) {
            ++count_.kme_short;
            demand_.ran_short(steady_clock::now());
        } else {
            // too_large: the peer lacks so many keys that the round's limit is reached; no fault of this end's service.
            if (made.error().code == errc::too_large) hold_back();
            else ++count_.kme_errors;
            report(made.error());
        }
        co_await pause(options_.pause_ms);
    }
}

task<std::uint64_t> link_service::key_size() {
    const auto now = steady_clock::now();
    if (!kme_status_ || now - kme_status_at_ > status_age_max) {
        CO_TRY(kme_status_, co_await kme_->status(deadline_in_ms(options_.kme_timeout_ms)));
        kme_status_at_ = now;
    }
    co_return choose_key_size(*kme_status_, options_.key_size, block_size());
}

/// Collects keys for one block and proposes it. Errors: those of the key delivery service, too_large (the round's limit
/// came before the keys were enough). Nothing is lost but the keys collected so far.
task<> link_service::make_block(session_ptr session) {
    const auto round = std::make_shared<master_round>(core_);
    round->number = next_round_++;
    master_rounds_[round->number] = round;
    const std::uint64_t control =
        (store_.state().wanted(true) + store_.state().wanted(false)) * control_slot_size;
    const std::uint64_t size = block_size();
    round->wanted = size + std::min(control, size / 2);
    auto done = co_await collect(session, round);
    if (done && session->is_open()) {
        if (round->common >= round->wanted) sizer_.filled_in(steady_clock::now() - round->begun);
        else sizer_.closed_short(round->common);
        done = co_await propose(session, round);
        if (done) co_return done;
    }
    master_rounds_.erase(round->number);
    if (!session->is_open() || stopping_) co_return fail(errc::unreachable, "the session ended");
    if (round->batches.empty()) co_return done;  // the peer knows nothing of it
    const abandon given_up{round->number};
    co_await session->send(given_up, deadline_in_ms(options_.answer_timeout_ms));
    co_return done;
}

/// Whether so many bytes must do, as the round has taken its time.
bool link_service::is_late(const master_round& round, std::uint64_t bytes) const {
    return bytes >= block_size_least + 4096 && steady_clock::now() - round.begun > round_patience;
}

/// Until both ends have the wanted bytes, or a second has passed and they are enough for a block.
task<> link_service::collect(session_ptr session, round_ptr round) {
    while (session->is_open() && !stopping_) {
        const bool enough = round->common >= round->wanted || is_late(*round, round->common);
        const bool full = round->batches.size() >= link_batches_per_round_max ||
                          round->sent + link_batch_size_max > link_round_size_max;
        if (round->open == 0 && (enough || full)) co_return result<void>{};
        const bool ask = !enough && !full && round->open < link_batches_max &&
                         round->common + round->offered < round->wanted;
        if (ask) {
            if (steady_clock::now() < retry_after_) co_await pause(options_.pause_ms);
            else CO_TRY_VOID(co_await offer_batch(session, round));
            continue;
        }
        round->changed.reset();
        const bool answered = co_await round->changed.wait(deadline_in_ms(options_.answer_timeout_ms));
        if (!answered) {
            session->close();
            co_return fail(errc::timed_out, "the peer does not answer an offer");
        }
    }
    co_return fail(errc::unreachable, "the session ended");
}

/// One offer's keys: what the round still lacks, or what makes a block of it when it has taken its time. A service
/// that is slow or runs short is asked again and again while the session lasts: an offer and its answer cost control
/// pad, however few keys they are about.
task<link_service::batch_state> link_service::gather(session_ptr session, round_ptr round) {
    CO_TRY(const auto size, co_await key_size());
    const std::uint64_t before = round->common + round->offered;
    const std::uint64_t missing = round->wanted - std::min(round->wanted, before);
    const auto most = std::min<std::uint64_t>(std::max<std::uint64_t>(1, link_batch_size_max / size),
                                              link_batch_keys_max);
    const auto count = static_cast<std::size_t>(std::clamp<std::uint64_t>(divide_up(missing, size), 1, most));
    batch_state out;
    while (out.keys.size() < count && (out.keys.empty() || !is_late(*round, before + out.keys.size() * size))) {
        const std::size_t lacking = count - out.keys.size();
        auto keys = co_await kme_->enc_keys(lacking, static_cast<std::size_t>(size),
                                            deadline_in_ms(options_.kme_timeout_ms));
        if (!session->is_open() || stopping_) co_return fail(errc::unreachable, "the session ended");
        if (!keys && keys.error().code == errc::no_key) {
            ++count_.kme_short;
            demand_.ran_short(steady_clock::now());
            co_await pause(options_.pause_ms);
            continue;
        }
        if (!keys && keys.error().code == errc::bad_argument) kme_status_.reset();  // its limits have changed
        if (!keys) co_return fail(keys.error());
        const bool sound = !keys->empty() && keys->size() <= lacking &&
                           std::ranges::all_of(*keys, [&](const auto& k) { return k.bytes().size() == size; });
        if (!sound)
            co_return fail(errc::bad_format, "the key delivery service answered with other keys than asked for");
        std::ranges::move(*keys, std::back_inserter(out.keys));
    }
    co_return out;
}

task<> link_service::offer_batch(session_ptr session, round_ptr round) {
    CO_TRY(auto batch, co_await gather(session, round));
    offer m;
    m.round = round->number;
    m.batch = static_cast<std::uint32_t>(round->batches.size());
    m.key_size = static_cast<std::uint32_t>(batch.keys.front().bytes().size());
    for (const auto& key : batch.keys) m.ids.push_back(key.id());
    const std::uint64_t bytes = std::uint64_t{m.key_size} * batch.keys.size();
    round->sent += bytes;
    round->offered += bytes;
    ++round->open;
    round->batches[m.batch] = std::move(batch);
    co_return co_await session->send(std::move(m), deadline_in_ms(options_.answer_timeout_ms));
}

result<void> link_service::on_have(const have& m) {
    const auto found = master_rounds_.find(m.round);
    if (found == master_rounds_.end()) return {};  // given up meanwhile
    auto& round = *found->second;
    const auto batch = round.batches.find(m.batch);
    if (batch == round.batches.end() || batch->second.answered || batch->second.keys.size() != m.present.size())
        return fail(errc::bad_format, "an answer to an offer that was not made");
    auto& keys = batch->second.keys;
    std::vector<delivered_key> kept;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        round.offered -= keys[i].bytes().size();
        if (!m.present[i]) {
            ++count_.keys_lost;
            continue;
        }
        round.common += keys[i].bytes().size();
        round.path.insert(round.path.end(), keys[i].path.begin(), keys[i].path.end());
        kept.push_back(std::move(keys[i]));
    }
    if (kept.empty()) hold_back();  // wrong keys, or the peer's service is out of order
    keys = std::move(kept);
    round.path.insert(round.path.end(), m.path.begin(), m.path.end());
    round.path = tidy_path(std::move(round.path));
    batch->second.answered = true;
    --round.open;
    round.changed.set();
    return {};
}

task<> link_service::propose(session_ptr session, round_ptr round) {
    const auto& control = store_.state();
    const round_split split = split_round(round->common, control.wanted(true), control.wanted(false));
    if (split.pad < block_size_least) co_return fail(errc::too_large, "the peer lacks too many of the keys");
    block m;
    m.round = round->number;
    m.id = random_uuid<block_id>();
    m.size = split.pad;
    m.strength = options_.strength;
    m.hello_slots = split.hello;
    m.work_slots = split.work;
    const auto number = [&](bool hello, std::uint16_t count) {
        const auto shelf = static_cast<std::size_t>(shelf_for(end(), hello));
        const std::uint64_t first = std::max(next_slot_[shelf], control.next[shelf]);
        next_slot_[shelf] = first + count;
        return first;
    };
    m.hello_first = number(true, split.hello);
    m.work_first = number(false, split.work);
    m.path = round->path;
    next_offset_ = round_up(std::max({next_offset_, ends().outbound, peer_state_.inbound_end}), 4096);
    m.offset = next_offset_;
    next_offset_ += m.size;
    std::map<std::uint32_t, std::vector<delivered_key>> batches;
    for (auto& [index, batch] : round->batches) {
        count_.keys_out += batch.keys.size();
        batches[index] = std::move(batch.keys);
    }
    round->made = assemble(batches, split);
    round->proposal = m;
    CO_TRY_VOID(co_await session->send(m, round->made.pieces(), deadline_in_ms(options_.answer_timeout_ms)));
    demand_.own_took(steady_clock::now(), m.size);
    ++finishing_;
    spawn(finish(session, round));
    co_return result<void>{};
}

/// Adds the control slots before the next message is looked at: that one may name the first of them.
result<void> link_service::on_stored(const session_ptr& session, const stored& m, const digest_key& key) {
    const auto found = master_rounds_.find(m.round);
    if (found == master_rounds_.end()) return {};  // given up meanwhile
    auto& round = *found->second;
    if (!round.proposal || round.outcome.is_set()) return fail(errc::bad_format, "an answer to no block");
    if (!equal_constant_time(content_digest(key, round.made.pieces()), m.digest)) {
        ++count_.blocks_different;
        return fail(errc::bad_tag, "the peer stored other bytes than it was told to");
    }
    const auto slots_end = std::size_t{round.proposal->hello_slots} * control_slot_size;
    std::vector<control_store::addition> additions;
    additions.push_back({true, round.proposal->hello_first, round.made.control.view().first(slots_end)});
    additions.push_back({false, round.proposal->work_first, round.made.control.view().subspan(slots_end)});
    TRY_VOID(store_.add(end(), additions));
    session->share_slots_of(end());
    round.outcome.set(result<void>{});
    return {};
}

void link_service::on_refused(const refused& m) {
    const auto found = master_rounds_.find(m.round);
    if (found == master_rounds_.end() || found->second->outcome.is_set()) return;
    next_offset_ = std::max(next_offset_, m.inbound_end);
    const bool different = m.why == refusal::different;
    ++(different ? count_.blocks_different : count_.blocks_refused);
    hold_back();
    found->second->outcome.set(fail(errc::conflict,
                                    different ? "a block was dropped: the ends got different bytes for the same keys"
                                              : "the peer refused a block"));
}

awaitable<void> link_service::finish(session_ptr session, round_ptr round) {
    const auto outcome = co_await round->outcome.take(deadline_in_ms(options_.answer_timeout_ms));
    auto done = outcome ? *outcome : fail(errc::timed_out, "the peer does not answer a block");
    if (!outcome) session->close();
    if (done) done = co_await join_made(round);
    master_rounds_.erase(round->number);
    if (!done && !stopping_) report(done.error());
    --finishing_;
    room_.set();
}

/// The peer has the block: it joins here too.
task<> link_service::join_made(round_ptr round) {
    const auto& proposal = *round->proposal;
    block_header header;
    header.id = proposal.id;
    header.strength = proposal.strength;
    header.stream = outbound();
    header.range = {proposal.offset, proposal.size};
    header.hello_size = hello_region_size(proposal.size);
    auto joined = paths_.add(path_records::record{header.id, header.stream, header.range, proposal.path});
    if (joined) joined = co_await host_.join(header, round->made.pad);
    if (!joined) {
        ++count_.blocks_refused;
        hold_back();
        co_return joined;
    }
    retry_ms_ = 0;
    retry_after_ = {};
    ++count_.blocks_out;
    count_.bytes_out += proposal.size;
    co_return result<void>{};
}

}  // namespace warifu
