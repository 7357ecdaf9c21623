// The inbound stream: this end fetches what the master announces and stores its blocks first.
#include <algorithm>
#include <spdlog/spdlog.h>

#include "fs/base/assert.h"
#include "keyd/link/service.h"
#include "keyd/pool/pad_file.h"

namespace warifu {

using namespace link_protocol;

result<void> link_service::on_offer(const session_ptr& session, const offer& m) {
    if (!peer_rounds_.contains(m.round) && peer_rounds_.size() >= link_rounds_max)
        return fail(errc::bad_format, "too many rounds at once");
    auto& round = peer_rounds_[m.round];
    const std::uint64_t size = std::uint64_t{m.key_size} * m.ids.size();
    if (round.batches.contains(m.batch)) return fail(errc::bad_format, "an offer came twice");
    if (round.open >= link_batches_max) return fail(errc::bad_format, "too many offers at once");
    if (round.bytes + size > link_round_size_max) return fail(errc::too_large, "a round is over its limit");
    round.bytes += size;
    ++round.open;
    round.batches[m.batch].clear();
    spawn(fetch(session, m));
    return {};
}

/// Keys that do not come, for whatever reason, are lost: the master skips them as well.
awaitable<void> link_service::fetch(session_ptr session, offer m) {
    auto keys = co_await kme_->dec_keys(m.ids, deadline_in_ms(options_.kme_timeout_ms));
    if (!keys && !stopping_) {
        ++count_.kme_errors;
        report(keys.error());
    }
    const auto found = peer_rounds_.find(m.round);
    if (found == peer_rounds_.end() || session_ != session) co_return;  // given up meanwhile
    have answer;
    answer.round = m.round;
    answer.batch = m.batch;
    answer.present.assign(m.ids.size(), false);
    std::vector<delivered_key> kept;
    std::size_t at = 0;
    if (keys) {
        for (std::size_t i = 0; i < m.ids.size() && at < keys->size(); ++i) {
            auto& key = (*keys)[at];
            if (key.id() != m.ids[i]) continue;
            ++at;
            if (key.bytes().size() != m.key_size) continue;
            answer.present[i] = true;
            answer.path.insert(answer.path.end(), key.path.begin(), key.path.end());
            kept.push_back(std::move(key));
        }
    }
    count_.keys_in += kept.size();
    count_.keys_lost += m.ids.size() - kept.size();
    answer.path = tidy_path(std::move(answer.path));
    found->second.path.insert(found->second.path.end(), answer.path.begin(), answer.path.end());
    found->second.path = tidy_path(std::move(found->second.path));
    found->second.batches[m.batch] = std::move(kept);
    --found->second.open;
    const auto sent = co_await session->send(std::move(answer), deadline_in_ms(options_.answer_timeout_ms));
    if (!sent && !stopping_) report(sent.error());
}

result<void> link_service::on_block(const session_ptr& session, const block& m, const digest_key& key) {
    const auto found = peer_rounds_.find(m.round);
    if (found == peer_rounds_.end()) return fail(errc::bad_format, "a block of no round");
    auto& round = found->second;
    std::uint64_t total = 0;
    for (const auto& [batch, keys] : round.batches)
        for (const auto& one : keys) total += one.bytes().size();
    const std::uint64_t control = (std::uint64_t{m.hello_slots} + m.work_slots) * control_slot_size;
    if (round.open != 0 || m.size + control > total)
        return fail(errc::bad_format, "a block of more keys than both ends have");
    spawn(take_block(session, m, key));
    return {};
}

awaitable<void> link_service::take_block(session_ptr session, block m, digest_key key) {
    const auto turn = co_await storing_.lock();
    auto found = peer_rounds_.extract(m.round);
    if (found.empty() || session_ != session) co_return;
    m.path.insert(m.path.end(), found.mapped().path.begin(), found.mapped().path.end());
    m.path = tidy_path(std::move(m.path));
    const round_split split{m.hello_slots, m.work_slots, m.size};
    const assembled made = assemble(found.mapped().batches, split);
    auto refusal_found = co_await try_block(m, key, made);
    if (!refusal_found) {
        session->close();  // this end cannot go on with its control pad: what is there is read again
        co_return report(refusal_found.error());
    }
    const deadline until = deadline_in_ms(options_.answer_timeout_ms);
    result<void> sent;
    if (*refusal_found) {
        const message no = **refusal_found;
        sent = co_await session->send(no, until);
    } else {
        stored yes;
        yes.round = m.round;
        sent = co_await session->send(yes, made.pieces(), until);
        if (sent) session->share_slots_of(other_end(end()));
    }
    if (!sent && !stopping_) report(sent.error());
}

/// nullopt: stored. An error means that the session cannot go on.
task<std::optional<refused>> link_service::try_block(block m, const digest_key& key, const assembled& made) {
    refused no{m.round, refusal::other, ends().inbound};
    if (!equal_constant_time(content_digest(key, made.pieces()), m.digest)) {
        ++count_.blocks_different;
        no.why = refusal::different;
        co_return no;
    }
    block_header header;
    header.id = m.id;
    header.strength = std::min(m.strength, options_.strength);
    header.stream = inbound();
    header.range = {m.offset, m.size};
    header.hello_size = hello_region_size(m.size);
    if (m.offset < no.inbound_end || !check_block_header(header)) {
        ++count_.blocks_refused;
        no.why = refusal::offset;
        co_return no;
    }
    auto joined = paths_.add(path_records::record{header.id, header.stream, header.range, m.path});
    if (joined) joined = co_await host_.join(header, made.pad);
    if (!joined) {
        ++count_.blocks_refused;
        report(joined.error());
        no.why = joined.error().code == errc::no_space ? refusal::no_space : refusal::other;
        no.inbound_end = ends().inbound;
        co_return no;
    }
    const auto slots_end = std::size_t{m.hello_slots} * control_slot_size;
    std::vector<control_store::addition> additions;
    additions.push_back({true, m.hello_first, made.control.view().first(slots_end)});
    additions.push_back({false, m.work_first, made.control.view().subspan(slots_end)});
    CO_TRY_VOID(store_.add(other_end(end()), additions));
    ++count_.blocks_in;
    count_.bytes_in += m.size;
    demand_.peer_took(steady_clock::now(), m.size);
    co_return std::optional<refused>();
}

}  // namespace warifu
