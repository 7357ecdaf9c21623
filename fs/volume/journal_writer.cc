#include "fs/volume/journal_writer.h"

#include <fmt/format.h>

#include "fs/async/fan_out.h"
#include "fs/base/failpoint.h"

namespace warifu {
namespace {

constexpr int put_again_max = 3;

}  // namespace

journal_writer::journal_writer(membership& members, const record_codec& codec, chunk_io& chunks, std::uint64_t head,
                               std::uint64_t committed)
    : members_(members),
      codec_(codec),
      chunks_(chunks),
      commit_lock_(members.executor),
      last_(head),
      committed_(committed) {}

task<> journal_writer::append(journal_record record, std::vector<chunk_id> chunks,
                              std::optional<share_index> restart_at) {
    for (;;) {
        CO_TRY_VOID(members_.check_writable());
        record.committed = committed_;
        const view holders = members_.current;  // it may shrink while randomness is waited for
        if (members_.view_dirty) {
            record.new_view = holders;
            members_.view_dirty = false;
        }
        const byte_vector payload = encode_journal_record(record);
        CO_TRY(random_,
               co_await chunks_.draw(codeword_random_size(chunks_.sharing(), payload.size()), key_use::control));
        auto shares = codec_.seal(members_.authority, last_ + 1, holders, payload, *random_);
        if (!shares) co_return fail(std::move(shares).error());
        bytes_since_snapshot_ += payload.size();
        bytes_total_ += payload.size();
        journal_entry entry;
        entry.sequence = ++last_;
        entry.epoch = members_.authority;
        entry.chunks = std::move(chunks);
        failpoint("append.sealed");
        co_await send(std::move(entry), std::move(*shares), restart_at);
        CO_TRY_VOID(members_.check_writable());
        failpoint(record.new_view ? "append.new_view" : "append.durable");
        if (!members_.view_dirty) {
            committed_ = last_;
            co_return result<void>();
        }
        // A member fell silent. What the others hold counts once they durably hold the smaller view too.
        record = journal_record();
        chunks.clear();
        restart_at.reset();
    }
}

task<> journal_writer::copy_entry(share_index site, journal_entry entry, bool restart) {
    append_request request;
    request.authority = members_.authority;
    request.entry = std::move(entry);
    request.restart = restart;
    co_return co_await members_.site(site).store->append(std::move(request));
}

awaitable<void> journal_writer::cut(std::uint64_t first) {
    fan_out<void> calls(members_.executor);
    for (const share_index site : members_.members())
        calls.start(site.value, members_.site(site).store->cut_journal(members_.authority, first));
    co_await calls.wait_all();
}

awaitable<void> journal_writer::send(journal_entry entry, std::vector<slice> shares,
                                     std::optional<share_index> restart_at) {
    fan_out<void> calls(members_.executor);
    for (const site_link& link : members_.sites) {
        const bool restart = restart_at && *restart_at == link.index;
        if (link.role == site_role::down || (link.role == site_role::learner && !link.attached && !restart)) continue;
        append_request request;
        request.authority = members_.authority;
        request.entry = entry;
        request.entry.share = shares[link.index.value];
        request.restart = restart;
        calls.start(link.index.value, send_to(link.index, std::move(request)));
    }
    co_await calls.wait_all();
}

task<> journal_writer::send_to(share_index site, append_request request) {
    site_link& link = members_.site(site);
    if (link.role == site_role::member) co_return co_await send_to_member(site, std::move(request));
    // A learner gets one try; one that fails starts its healing again.
    const bool restart = request.restart;
    const auto store = link.store;
    const auto done = co_await store->append(std::move(request));
    link.attached = done.has_value() && (restart || link.attached);
    if (!done) link.missed = true;
    co_return result<void>();
}

task<> journal_writer::send_to_member(share_index site, append_request request) {
    site_link& link = members_.site(site);
    const auto store = link.store;
    int given_again = 0;
    while (members_.current.has(site) && members_.check_writable()) {
        const auto done = co_await store->append(request);
        if (done) {
            members_.waiting_for.erase(site);
            failpoint("append.one_member");
            co_return done;
        }
        if (done.error().code == errc::not_found && co_await chunks_.wait_put(request.entry.chunks)) continue;
        if (done.error().code == errc::not_found && given_again++ < put_again_max) {
            // The site lost puts that it had not yet made durable (it was restarted): they are still in memory here.
            co_await chunks_.put_again(site, request.entry.chunks);
            continue;
        }
        const std::string why = fmt::format("{}: {}", link.name, done.error().message());
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

}  // namespace warifu
