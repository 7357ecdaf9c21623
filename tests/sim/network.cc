#include "tests/sim/network.h"

namespace warifu::sim {
namespace {

constexpr double late_ms = 8'000;

awaitable<void> travel(std::shared_ptr<world_state> world) {
    const bool late = world->chance.chance(world->now.late);
    co_await sleep_for(world->chance.time(late ? late_ms : world->now.delay_ms));
}

}  // namespace

/// The way of one request to its site and of its answer back.
template <typename T>
awaitable<void> sim_link::deliver(std::shared_ptr<world_state> world, std::shared_ptr<client_state> client,
                                  std::size_t where, request<T> what, std::shared_ptr<promised<result<T>>> answer) {
    co_await client->running.wait();
    if (client->dead) co_return;
    co_await travel(world);
    site& target = world->sites[where];
    if (client->cut[where] || world->chance.chance(world->now.lost)) co_return;
    if (!target.up) {
        answer->set(fail(errc::unreachable, "the site is down"));
        co_return;
    }
    if (world->chance.chance(world->now.crash)) {
        if (world->chance.chance(0.5)) (void)co_await what(*target.store);
        world->crash(where);
        co_return;
    }
    ++target.requests;
    auto outcome = co_await what(*target.store);
    co_await travel(world);
    co_await client->running.wait();
    if (client->dead || client->cut[where] || world->chance.chance(world->now.lost)) co_return;
    answer->set(std::move(outcome));
}

template <typename T>
task<T> sim_link::exchange(request<T> what) {
    // Whatever it waits for ends with this, so that it can be taken apart.
    const auto client = client_;  // the volume, and this link with it, may go while the last requests are on their way
    if (client->dead) co_return fail(errc::stale_epoch, "this client is dead");
    const auto answer = std::make_shared<promised<result<T>>>(executor_);
    asio::co_spawn(executor_, deliver<T>(world_, client_, site_, what, answer), asio::detached);
    if (world_->chance.chance(world_->now.twice)) {
        const auto nobody = std::make_shared<promised<result<T>>>(executor_);
        asio::co_spawn(executor_, deliver<T>(world_, client_, site_, what, nobody), asio::detached);
    }
    auto outcome = co_await answer->take(deadline_in_ms(request_timeout_ms));
    if (client->dead) co_return fail(errc::stale_epoch, "this client is dead");
    if (!outcome) co_return fail(errc::timed_out, "the site does not answer");
    co_return std::move(*outcome);
}

task<store_state> sim_link::state() {
    return exchange<store_state>([](share_store& s) { return s.state(); });
}
task<> sim_link::reserve(ballot authority, std::uint64_t size) {
    return exchange<void>([=](share_store& s) { return s.reserve(authority, size); });
}
task<> sim_link::put(share_put share) {
    return exchange<void>([share](share_store& s) { return s.put(share); });
}
task<std::vector<slice>> sim_link::get(chunk_id chunk, std::vector<share_range> ranges) {
    return exchange<std::vector<slice>>([=](share_store& s) { return s.get(chunk, ranges); });
}
task<share_description> sim_link::describe(chunk_id chunk) {
    return exchange<share_description>([=](share_store& s) { return s.describe(chunk); });
}
task<> sim_link::remove(ballot authority, std::vector<share_removal> removals) {
    return exchange<void>([=](share_store& s) { return s.remove(authority, removals); });
}
task<std::vector<chunk_id>> sim_link::list(chunk_id after, std::uint32_t count) {
    return exchange<std::vector<chunk_id>>([=](share_store& s) { return s.list(after, count); });
}
task<> sim_link::append(append_request request) {
    return exchange<void>([request](share_store& s) { return s.append(request); });
}
task<std::vector<journal_entry>> sim_link::read_journal(std::uint64_t from, std::uint32_t size_max) {
    return exchange<std::vector<journal_entry>>([=](share_store& s) { return s.read_journal(from, size_max); });
}
task<> sim_link::cut_journal(ballot authority, std::uint64_t first) {
    return exchange<void>([=](share_store& s) { return s.cut_journal(authority, first); });
}
task<> sim_link::promise(ballot b) {
    return exchange<void>([=](share_store& s) { return s.promise(b); });
}
task<> sim_link::heartbeat(ballot authority, writer_identity writer) {
    return exchange<void>([=](share_store& s) { return s.heartbeat(authority, writer); });
}
task<> sim_link::pin(std::vector<chunk_id> chunks, std::uint32_t ttl_ms) {
    return exchange<void>([=](share_store& s) { return s.pin(chunks, ttl_ms); });
}
task<> sim_link::sync() {
    return exchange<void>([](share_store& s) { return s.sync(); });
}

}  // namespace warifu::sim
