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
constexpr std::uint64_t batch_size_max = 4U << 20U;  // bytes of keys in one offer
constexpr std::size_t finishing_max = 1;             // blocks that wait for the peer while the next one is collected

}  // namespace

bool link_service::is_due() {
    const auto now = steady_clock::now();
    demand_.observe(now, host_.level(outbound()));
    const bool control = store_.state().wanted(true) + store_.state().wanted(false) != 0;
    if (!demand_.wants() && !control) return false;
    return demand_.my_turn(now, peer_state_.weight, sizer_.size());
}

awaitable<void> link_service::master_loop(session_ptr session) {
    while (session->is_open() && !stopping_) {
        if (finishing_ > finishing_max) {
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
            ++count_.kme_errors;
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
    co_return choose_key_size(*kme_status_, options_.key_size, sizer_.size());
}

/// Collects keys for one block and proposes it. Errors are those of the key delivery service: nothing is lost but the
/// keys collected so far.
task<> link_service::make_block(session_ptr session) {
    const auto round = std::make_shared<master_round>(core_);
    round->number = next_round_++;
    master_rounds_[round->number] = round;
    const auto begun = steady_clock::now();
    const std::uint64_t control =
        (store_.state().wanted(true) + store_.state().wanted(false)) * control_slot_size;
    const std::uint64_t size = sizer_.size();
    const std::uint64_t wanted = size + std::min(control, size / 2);
    auto done = co_await collect(session, round, wanted);
    if (done && session->is_open()) {
        if (round->common >= wanted) sizer_.filled_in(steady_clock::now() - begun);
        else sizer_.closed_short(round->common);
        done = co_await propose(session, round);
        if (done) co_return done;
    }
    master_rounds_.erase(round->number);
    if (!session->is_open() || stopping_) co_return fail(errc::unreachable, "the session ended");
    const abandon given_up{round->number};
    co_await session->send(given_up, deadline_in_ms(options_.answer_timeout_ms));
    co_return done;
}

/// Until both ends have `wanted` bytes, or a second has passed and they are enough for a block. A service that runs
/// short is asked again and again while the session lasts.
task<> link_service::collect(session_ptr session, round_ptr round, std::uint64_t wanted) {
    const auto begun = steady_clock::now();
    while (session->is_open() && !stopping_) {
        const bool enough = round->common >= wanted;
        const bool late = steady_clock::now() - begun > round_patience &&
                          round->common >= link_block_size_min + 4096;
        const bool full = round->batches.size() >= link_batches_per_round_max;
        if (round->open == 0 && (enough || late || full)) co_return result<void>{};
        const bool ask = !enough && !late && !full && round->open < link_batches_max &&
                         round->common + round->offered < wanted;
        if (ask) {
            const auto offered = co_await offer_batch(session, round, wanted);
            if (offered) continue;
            if (offered.error().code != errc::no_key) co_return fail(offered.error());
            ++count_.kme_short;
            demand_.ran_short(steady_clock::now());
            co_await pause(options_.pause_ms);
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

task<> link_service::offer_batch(session_ptr session, round_ptr round, std::uint64_t wanted) {
    CO_TRY(const auto size, co_await key_size());
    const std::uint64_t missing = wanted - std::min(wanted, round->common + round->offered);
    const std::uint64_t most = std::max<std::uint64_t>(1, batch_size_max / size);
    const std::uint64_t count = std::clamp<std::uint64_t>(divide_up(missing, size), 1,
                                                          std::min<std::uint64_t>(most, link_batch_keys_max));
    const deadline until = deadline_in_ms(options_.kme_timeout_ms);
    auto keys = co_await kme_->enc_keys(static_cast<std::size_t>(count), static_cast<std::size_t>(size), until);
    if (!keys) {
        if (keys.error().code == errc::bad_argument) kme_status_.reset();  // its limits have changed
        co_return fail(keys.error());
    }
    const bool sound = !keys->empty() && keys->size() <= count &&
                       std::ranges::all_of(*keys, [&](const auto& k) { return k.bytes().size() == size; });
    if (!sound) co_return fail(errc::bad_format, "the key delivery service answered with other keys than asked for");
    if (!session->is_open()) co_return fail(errc::unreachable, "the session ended");
    offer m;
    m.round = round->number;
    m.batch = static_cast<std::uint32_t>(round->batches.size());
    m.key_size = static_cast<std::uint32_t>(size);
    for (const auto& key : *keys) m.ids.push_back(key.id());
    round->offered += keys->size() * size;
    ++round->open;
    round->batches[m.batch].keys = std::move(*keys);
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
    if (split.pad < link_block_size_min) co_return fail(errc::no_key, "too few keys for a block");
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
    assembled made = assemble(batches, split);
    const auto sent = co_await session->send(m, made.pieces(), deadline_in_ms(options_.answer_timeout_ms));
    if (!sent) co_return fail(sent.error());
    demand_.own_took(steady_clock::now(), m.size);
    ++finishing_;
    spawn(finish(session, round, m, std::move(made)));
    co_return result<void>{};
}

awaitable<void> link_service::finish(session_ptr session, round_ptr round, block proposal, assembled made) {
    auto outcome = co_await round->outcome.take(deadline_in_ms(options_.answer_timeout_ms));
    const bool silent = !outcome.has_value();
    const auto done = co_await conclude(round, proposal, made, std::move(outcome));
    master_rounds_.erase(round->number);
    if (!done) report(done.error());
    if (silent || (!done && done.error().code == errc::bad_tag)) session->close();
    --finishing_;
    room_.set();
}

task<> link_service::conclude(round_ptr round, const block& proposal, const assembled& made,
                              std::optional<message> outcome) {
    if (!outcome) co_return fail(errc::timed_out, "the peer does not answer a block");
    if (const auto* no = std::get_if<refused>(&*outcome)) {
        next_offset_ = std::max(next_offset_, no->inbound_end);
        if (no->why == refusal::different) ++count_.blocks_different;
        else ++count_.blocks_refused;
        co_return fail(errc::conflict, no->why == refusal::different
                                           ? "a block was dropped: the ends got different bytes for the same keys"
                                           : "a block was refused or lost on the way");
    }
    const auto& yes = std::get<stored>(*outcome);
    if (!equal_constant_time(content_digest(round->stored_key, made.pieces()), yes.digest)) {
        ++count_.blocks_different;
        co_return fail(errc::bad_tag, "the peer stored other bytes than it was told to");
    }
    const auto slots_end = std::size_t{proposal.hello_slots} * control_slot_size;
    std::vector<control_store::addition> additions;
    additions.push_back({true, proposal.hello_first, made.control.view().first(slots_end)});
    additions.push_back({false, proposal.work_first, made.control.view().subspan(slots_end)});
    CO_TRY_VOID(store_.add(end(), additions));
    block_header header;
    header.id = proposal.id;
    header.strength = proposal.strength;
    header.stream = outbound();
    header.range = {proposal.offset, proposal.size};
    header.hello_size = hello_region_size(proposal.size);
    CO_TRY_VOID(paths_.add(path_records::record{header.id, header.stream, header.range, proposal.path}));
    const auto joined = co_await host_.join(header, made.pad);
    if (!joined) {
        ++count_.blocks_refused;
        co_return fail(joined.error());
    }
    ++count_.blocks_out;
    count_.bytes_out += proposal.size;
    co_return result<void>{};
}

}  // namespace warifu
