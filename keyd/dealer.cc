#include "keyd/dealer.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fs/async/wait.h"
#include "fs/base/buffer.h"
#include "fs/base/harden.h"
#include "fs/base/limits.h"
#include "keyd/pool/pad_file.h"

namespace warifu {
namespace {

constexpr std::size_t piece_size = 1U << 20U;
constexpr std::size_t blocks_per_step_max = 4;  // per stream, so that all streams grow together and stop() is seen

result<std::uint64_t> free_space(const std::string& directory) {
    struct statvfs status{};
    if (::statvfs(directory.c_str(), &status) != 0) return fail_errno("look at", directory);
    return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

}  // namespace

result<void> write_identical_blocks(const block_header& block, const std::vector<std::string>& directories) {
    std::vector<pad_file_writer> files;
    for (const auto& directory : directories) {
        TRY(auto file, pad_file_writer::create(directory, block));
        files.push_back(std::move(file));
    }
    const auto source = make_drbg();
    buffer piece(piece_size);
    for (std::uint64_t done = 0; done < block.range.size;) {
        const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(piece_size, block.range.size - done));
        TRY_VOID(source->fill(piece.span(0, size)));
        for (auto& file : files) TRY_VOID(file.append(piece.view(0, size)));
        done += size;
    }
    for (auto& file : files) TRY_VOID(file.finish());
    return {};
}

std::uint64_t dealt_block_size(const dealer_options& options) {
    std::uint64_t size = options.target / 8;
    if (options.rate_bits != 0) size = std::min(size, options.rate_bits / 8);
    size = std::clamp(size, options.block_size_min, options.block_size_max);
    return size / 4096 * 4096;
}

result<std::unique_ptr<dealer>> dealer::create(dealer_options options) {
    if (options.block_size_min < pad_block_size_min || options.block_size_max > pad_block_size_max ||
        options.block_size_min > options.block_size_max)
        return fail(errc::bad_argument, "dealer: block sizes out of range");
    std::unique_ptr<dealer> out(new dealer(std::move(options)));
    const auto& sites = out->options_.sites;
    const auto find = [&](const std::string& name) -> const dealer_options::end* {
        const auto it = std::ranges::find(sites, name, &dealer_options::end::site);
        return it == sites.end() ? nullptr : &*it;
    };
    for (const auto& [a, b] : out->options_.links) {
        const auto* first = find(a);
        const auto* second = find(b);
        if (first == nullptr || second == nullptr || first == second)
            return fail(errc::bad_argument,
                        fmt::format("dealer: the link {} - {} does not join two known sites", a, b));
        out->streams_.push_back(stream{{a, b}, first, second, 0, {}, 0});
        out->streams_.push_back(stream{{b, a}, second, first, 0, {}, 0});
    }
    out->find_undelivered();
    return out;
}

/// Blocks that an earlier dealer left in the incoming directories: offsets go on behind them.
void dealer::find_undelivered() {
    for (const auto& site : options_.sites) {
        std::error_code code;
        for (std::filesystem::directory_iterator it(site.incoming, code), end; !code && it != end; it.increment(code)) {
            if (it->path().extension() != pad_file_suffix) continue;
            const auto header = read_pad_header(it->path());
            if (!header) continue;
            for (auto& one : streams_)
                if (one.name == header->block.stream)
                    one.next_offset = std::max(one.next_offset, header->block.range.end());
        }
    }
}

task<dealer::site_stock> dealer::ask(const dealer_options::end& site) {
    auto& client = clients_[site.site];
    if (client == nullptr) {
        auto connected = co_await keyd_client::connect(site.socket);
        if (!connected) co_return fail(connected.error());
        client = std::move(*connected);
    }
    CO_TRY(const auto text, co_await client->status_json());
    const auto status = nlohmann::json::parse(text, nullptr, false);
    if (!status.is_object() || !status.contains("streams"))
        co_return fail(errc::bad_format, site.socket + ": no status");
    site_stock out;
    for (const auto& one : status["streams"]) {
        const stream_name name{one.value("from", ""), one.value("to", "")};
        out[name] = stock{one.value("available_bytes", std::uint64_t{0}), one.value("end_offset", std::uint64_t{0})};
    }
    co_return out;
}

task<std::size_t> dealer::step() {
    const auto now = steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_step_).count();
    last_step_ = now;
    std::map<std::string, site_stock> known;
    std::string trouble;
    for (const auto& site : options_.sites) {
        auto found = co_await ask(site);
        if (found)
            known[site.site] = std::move(*found);
        else
            trouble = found.error().message();
    }
    std::size_t written = 0;
    const auto block_size = static_cast<double>(dealt_block_size(options_));
    for (auto& one : streams_) {
        if (options_.rate_bits != 0)  // a stream that needs nothing saves up one block at most
            one.tokens = std::min(one.tokens + static_cast<double>(options_.rate_bits) / 8 * seconds, 2 * block_size);
        if (!known.contains(one.sender->site) || !known.contains(one.receiver->site)) continue;
        for (std::size_t i = 0; i < blocks_per_step_max && !stopping_; ++i) {
            const auto dealt = deal(one, known[one.sender->site], known[one.receiver->site]);
            if (!dealt) trouble = dealt.error().message();
            if (!dealt || !*dealt) break;
            ++written;
        }
    }
    report(trouble);
    co_return written;
}

/// Writes one block if the stream is short of stock. False when it is not, or the rate does not allow it yet.
result<bool> dealer::deal(stream& to, const site_stock& at_sender, const site_stock& at_receiver) {
    const auto find = [&](const site_stock& all) { return all.contains(to.name) ? all.at(to.name) : stock{}; };
    stock sender = find(at_sender), receiver = find(at_receiver);
    to.next_offset = std::max({to.next_offset, sender.end, receiver.end});
    const std::uint64_t both = std::min(sender.end, receiver.end);
    while (!to.pending.empty() && to.pending.front().offset < both) to.pending.pop_front();
    for (const auto& block : to.pending) {
        if (block.offset >= sender.end) sender.available += block.data_size;
        if (block.offset >= receiver.end) receiver.available += block.data_size;
    }
    // The poorer end decides; but what only one end misses must not fill the other without bound.
    if (std::min(sender.available, receiver.available) >= options_.target) return false;
    const std::uint64_t size = dealt_block_size(options_);
    if (std::max(sender.available, receiver.available) >= 2 * options_.target + size) return false;
    if (options_.rate_bits != 0 && to.tokens < static_cast<double>(size)) return false;
    for (const auto* end : {to.receiver, to.sender}) {
        TRY(const auto free, free_space(end->incoming));
        if (free < 2 * size + options_.disk_reserve)
            return fail(errc::no_space,
                        fmt::format("{}: too little space for more key ({} bytes)", end->incoming, free));
    }
    block_header block;
    block.id = random_uuid<block_id>();
    block.strength = claim::simulated;
    block.stream = to.name;
    block.range = {to.next_offset, size};
    block.hello_size = hello_region_size(size);
    to.next_offset += size;
    if (options_.rate_bits != 0) to.tokens -= static_cast<double>(size);
    // The receiver's comes first: a sender that has the block already would propose windows that are refused.
    TRY_VOID(write_identical_blocks(block, {to.receiver->incoming, to.sender->incoming}));
    to.pending.push_back(dealt{block.range.offset, size - block.hello_size});
    return true;
}

void dealer::report(const std::string& what) {
    if (!what.empty() && what != last_report_) spdlog::warn("dealer: {}", what);
    if (what.empty() && !last_report_.empty()) spdlog::info("dealer: all is well again");
    last_report_ = what;
}

awaitable<void> dealer::run() {
    while (!stopping_) {
        if (options_.is_paused && options_.is_paused()) {
            co_await sleep_for(std::chrono::milliseconds(options_.poll_ms));
            continue;
        }
        const auto written = co_await step();
        const bool idle = !written || *written == 0;
        const auto pause = std::chrono::milliseconds(idle ? options_.poll_ms : 1);
        if (!stopping_) co_await sleep_for(pause);
    }
    clients_.clear();
}

namespace {

awaitable<void> stop_on_signal(std::shared_ptr<asio::signal_set> signals, std::shared_ptr<dealer> works) {
    co_await signals->async_wait(use_values);
    works->stop();
}

}  // namespace

result<void> run_dealer(dealer_options options, std::function<void()> on_ready) {
    ::umask(0077);
    TRY_VOID(harden_process());
    asio::io_context core(1);
    const auto signals = std::make_shared<asio::signal_set>(core, SIGTERM, SIGINT);
    TRY(auto created, dealer::create(std::move(options)));
    const std::shared_ptr<dealer> works = std::move(created);
    asio::co_spawn(core, stop_on_signal(signals, works), asio::detached);
    asio::co_spawn(core, works->run(), [&](std::exception_ptr thrown) {
        core.stop();
        if (thrown) std::rethrow_exception(thrown);
    });
    if (on_ready) on_ready();
    core.run();
    return {};
}

}  // namespace warifu
