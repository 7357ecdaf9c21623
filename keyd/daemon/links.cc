#include "keyd/daemon/links.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "fs/base/crc32c.h"
#include "keyd/daemon/keyd.h"

namespace warifu {
namespace {

task<std::shared_ptr<link_pipe>> connect_to(endpoint where, deadline until) {
    CO_TRY(auto socket, co_await connect_tcp(where.host, where.port, until));
    co_return std::make_shared<tcp_link_pipe>(std::move(socket));
}

result<void> write_block(const block_header& header, bytes_view bytes, const std::string& path) {
    TRY(const unique_fd fd, open_file(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW));
    // The checksum lets an import that a crash cuts short be taken up again from incoming/.
    TRY_VOID(write_at(fd.get(), 0, encode_pad_header(pad_file_header{header, crc32c(bytes)}), path));
    TRY_VOID(write_at(fd.get(), pad_header_size, bytes, path));
    return sync_data(fd.get(), path);
}

}  // namespace

result<staged_block> stage_bytes(const block_header& header, bytes_view bytes, const std::string& directory) {
    const std::string path = fmt::format("{}/{}.staged", directory, to_text(header.id));
    auto written = write_block(header, bytes, path);
    if (!written) {
        ::unlink(path.c_str());
        return fail(written.error());
    }
    return staged_block{header, path};
}

result<std::unique_ptr<keyd_links>> keyd_links::start(asio::any_io_executor core, const std::string& site,
                                                      const std::string& pads_directory,
                                                      const std::optional<endpoint>& listen,
                                                      const std::vector<keyd_link>& links, link_host& host) {
    auto out = std::make_unique<keyd_links>();
    const std::string directory = pads_directory + "/links";
    TRY_VOID(make_directory(directory));
    if (listen) {
        TRY(out->listener_, link_listener::start(core, listen->host, listen->port));
    }
    for (const auto& link : links) {
        link_options options;
        options.own = site;
        options.peer = link.peer;
        options.directory = directory;
        options.strength = link.strength;
        options.stock_target = link.stock;
        options.key_size = link.key_size;
        if (link.control)
            options.connect = [where = *link.control](deadline until) { return connect_to(where, until); };
        else if (site < link.peer)
            return fail(errc::bad_argument, fmt::format("the link to {} does not say where its keyd is", link.peer));
        TRY(auto kme, link.connect_kme(core));
        TRY(auto service, link_service::start(core, std::move(options), std::move(kme), host));
        if (out->listener_) out->listener_->add(service);
        out->services_.push_back(std::move(service));
    }
    return out;
}

awaitable<bool> keyd_links::stop(deadline until) {
    if (listener_) listener_->stop();
    for (const auto& service : services_) service->begin_stop();
    bool ended = true;
    for (const auto& service : services_) ended = co_await service->stop(until) && ended;
    if (ended) services_.clear();
    co_return ended;
}

nlohmann::json keyd_links::status() const {
    auto out = nlohmann::json::array();
    for (const auto& service : services_) out.push_back(service->status());
    return out;
}

std::vector<std::string> keyd_links::alarms() const {
    std::vector<std::string> out;
    for (const auto& service : services_) {
        const std::string link = service->options().own + " - " + service->options().peer;
        if (!service->store().is_enrolled()) out.push_back(link + ": not enrolled (warifu link enrol)");
        else if (!service->is_connected()) out.push_back(link + ": the keyds are not connected");
        if (service->counters().blocks_different != 0)
            out.push_back(fmt::format("{}: {} blocks dropped: the ends got different bytes for the same keys", link,
                                      service->counters().blocks_different));
    }
    return out;
}

// What a link asks of its keyd.

stream_level keyd::level(const stream_name& stream) const {
    stream_level out;
    const auto& state = pool_->state();
    const auto index = state.find(stream);
    if (index == state.streams().size()) return out;
    const auto& found = state.streams()[index];
    const auto ever = found.ever.intervals();
    if (!ever.empty()) out.end = ever.back().end;
    // What is set aside is as good as sent: else it would keep the link from making the key that others wait for.
    out.available = found.free_bytes - std::min(found.free_bytes, reserved_by_others(nullptr, stream));
    out.taken = found.totals.imported - std::min(found.totals.imported, found.free_bytes);
    return out;
}

/// What a peer remembers of this ledger. If that is more than the ledger held when it was opened, the directory was
/// restored from an older copy.
void keyd::witnessed(const std::string& peer, std::uint64_t before) {
    if (stopping_) return;
    const auto or_abort = [&](const auto& written) {
        if (written) return;
        spdlog::critical("keyd {}: an older copy of the ledger, and it cannot be written: {}", options_.site,
                         written.error().message());
        std::abort();  // anything handed out now might be used twice
    };
    if (before > opened_at_ && was_old_copy_) {
        // This peer remembers more than the one before it. What there was is given up already; but the ledger must get
        // behind what it says, or the next start would give up what has come since.
        if (before >= pool_->log().durable()) or_abort(pool_->go_beyond(before));
    } else if (before > opened_at_) {
        was_old_copy_ = true;
        const auto lost = pool_->renounce(before);
        or_abort(lost);
        renounced_bytes_ = *lost;
        spdlog::error("keyd {}: this directory was restored from an older copy ({} remembers record {}, it had {}): {} "
                      "bytes of key and random numbers are given up",
                      options_.site, peer, before, opened_at_, *lost);
        erase_wanted_.set();
    }
    witnesses_heard_.insert(peer);
    if (links_ && witnesses_heard_.size() >= links_->services().size()) witnesses_until_ = {};
    wake_waiters();
}

std::vector<pad_range> keyd::gone(const stream_name& stream, std::uint64_t peer_end) const {
    return pool_->gone(stream, was_old_copy_ ? peer_end : 0, link_gone_ranges_max);
}

void keyd::give_up(const stream_name& stream, const std::vector<pad_range>& ranges) {
    const auto lost = pool_->give_up(stream, ranges);
    if (!lost) return spdlog::error("keyd {}: {}", options_.site, lost.error().message());
    if (*lost != 0)
        spdlog::info("keyd {}: {} bytes of key from {} to {} are given up: the other end has spent or lost them",
                     options_.site, *lost, stream.sender, stream.receiver);
    erase_wanted_.set();
}

awaitable<void> keyd::end_waiting_for_witnesses() {
    co_await stop_wanted_.wait(witnesses_until_);
    wake_waiters();
}

std::string keyd::witness_text() const {
    if (!links_ || links_->services().empty())
        return "none: both ends restored from old copies together would not be seen";
    if (witnesses_heard_.empty())
        return "none heard since the start: both ends restored from old copies together would not be seen";
    return fmt::format("{} of {} peers told what they remember of this ledger", witnesses_heard_.size(),
                       links_->services().size());
}

task<> keyd::join(block_header header, slice bytes) {
    const auto self = shared_from_this();
    if (stopping_) co_return fail(errc::cancelled, "keyd is stopping");
    CO_TRY_VOID(pool_->admits(header));
    auto work = [header, bytes = std::move(bytes), directory = pool_->blocks_directory()] {
        return stage_bytes(header, bytes.view(), directory);
    };
    CO_TRY(const auto staged, co_await run_in(keeper_, std::move(work)));
    const auto imported = pool_->import(staged);
    if (!imported) {
        ::unlink(staged.path.c_str());
        co_return fail(imported.error());
    }
    ++count_.imports;
    const std::uint64_t data_bytes = header.range.end() - header.data_begin();
    flows_[header.stream].in.add(static_cast<double>(data_bytes), steady_clock::now());
    flows_[header.stream].service.delivered(data_bytes, steady_clock::now());
    wake_waiters();
    erase_wanted_.set();
    co_return result<void>{};
}

}  // namespace warifu
