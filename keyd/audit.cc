#include "keyd/audit.h"

#include <algorithm>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <set>
#include <sys/file.h>
#include <thread>
#include <unistd.h>

#include "fs/base/buffer.h"
#include "fs/base/limits.h"
#include "keyd/pool/ledger.h"
#include "keyd/pool/pad_file.h"
#include "keyd/pool/pool_state.h"

namespace warifu {
namespace {

constexpr std::size_t no_limit = ~std::size_t{0};
constexpr auto erasure_grace = std::chrono::milliseconds(500);
constexpr int erasure_looks_max = 10;

struct read_store {
    std::string directory;
    std::string site;
    bool running = false;
    pool_state state;
};

bool is_running(const std::string& directory) {
    const unique_fd lock(::open((directory + "/lock").c_str(), O_RDONLY | O_CLOEXEC));
    return lock.is_open() && ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0;
}

class auditor {
  public:
    explicit auditor(const std::vector<std::string>& directories) {
        // Two readings: what a receiver has taken by the first one its sender has marked by the second.
        for (const auto& directory : directories) read(directory, before_, true);
        for (const auto& one : before_) read(one.directory, after_, false);
    }

    audit_report run() {
        for (const auto& store : after_) {
            summarize(store);
            audit_handouts(store);
            audit_files(store);
        }
        audit_ids();
        for (const auto& receiver : before_)
            for (const auto& sender : after_) audit_ends(sender, receiver);
        return std::move(report_);
    }

  private:
    void add(bool finding, const read_store& store, const stream_name& stream, pad_range range, std::string text) {
        if (report_.entries.size() < audit_entry_count_max)
            report_.entries.push_back({finding, store.site, stream, range, std::move(text)});
    }

    void read(const std::string& directory, std::vector<read_store>& into, bool complain) {
        const auto contents = read_ledger(directory + "/ledger");
        if (!contents) {
            if (complain) report_.unreadable.push_back(contents.error().message());
            return;
        }
        read_store store{directory, contents->header.site, is_running(directory), {}};
        for (const auto& record : contents->records) {
            const auto applied = store.state.apply(record);
            if (applied) continue;
            if (complain) add(true, store, {}, {}, applied.error().text);
            break;
        }
        into.push_back(std::move(store));
    }

    void summarize(const read_store& store) {
        audit_report::store out{store.directory, store.site, store.running, 0, 0, 0, 0, 0};
        for (const auto& stream : store.state.streams()) {
            ++out.streams;
            out.handouts += stream.history.size() + stream.open.size();
            out.history_dropped += stream.totals.history_dropped;
            out.free_bytes += stream.free_bytes;
            for (const auto& [offset, block] : stream.blocks) out.spent_bytes += block.spent.size();
        }
        report_.stores.push_back(std::move(out));
    }

    /// Within one end: no byte belongs to two hand-outs, released tails left out.
    void audit_handouts(const read_store& store) {
        for (const auto& stream : store.state.streams()) {
            std::vector<pad_range> used;
            for (const auto& closed : stream.history)
                if (closed.used().size != 0) used.push_back(closed.used());
            for (const auto& [offset, window] : stream.open) used.push_back(window.range);
            std::ranges::sort(used, {}, &pad_range::offset);
            std::uint64_t end = 0;
            for (const auto& range : used) {
                if (range.offset < end) {
                    const std::uint64_t overlap = std::min(end, range.end()) - range.offset;
                    add(true, store, stream.name, {range.offset, overlap}, "handed out to two sessions");
                }
                end = std::max(end, range.end());
            }
            for (const auto& range : used)
                if (const auto* block = stream.data_block(range))
                    if (!block->spent.contains(range.offset, range.end()))
                        add(true, store, stream.name, range, "was used, and is offered again");
        }
    }

    /// Spent bytes are gone from the files, and no file lies there that the ledger does not know.
    void audit_files(const read_store& store) {
        std::set<std::string> expected;
        for (const auto& stream : store.state.streams()) {
            for (const auto& [offset, block] : stream.blocks) {
                const auto name = to_text(block.header.id) + std::string(pad_file_suffix);
                expected.insert(name);
                audit_erasure(store, stream, block, store.directory + "/blocks/" + name);
            }
        }
        std::error_code code;
        for (std::filesystem::directory_iterator it(store.directory + "/blocks", code), end; !code && it != end;
             it.increment(code)) {
            const auto name = it->path().filename().string();
            if (!store.running && !expected.contains(name) && name.ends_with(pad_file_suffix))
                add(false, store, {}, {}, "a file that the ledger does not know: " + name);
        }
    }

    void audit_erasure(const read_store& store, const stream_state& stream, const block_state& block,
                       const std::string& path) {
        interval_set erased(no_limit), due(no_limit);
        for (const auto* marks : {&block.spent, &block.hello_spent})
            for (const auto& piece : marks->intervals()) due.add(piece.begin, piece.end);
        for (const auto& [offset, window] : stream.open) due.subtract(window.range.offset, window.range.end());
        for (const auto& piece : block.erased.intervals()) {
            erased.add(piece.begin, piece.end);
            due.subtract(piece.begin, piece.end);
        }
        for (const auto& range : still_there(path, block, erased))
            add(true, store, stream.name, range, "erased by the ledger's word, but its bytes are still in " + path);
        auto left = still_there(path, block, due);
        for (int i = 0; store.running && !left.empty() && i < erasure_looks_max; ++i) {  // keyd may be at it
            std::this_thread::sleep_for(erasure_grace);
            left = still_there(path, block, due);
        }
        for (const auto& range : left) {
            if (store.running)
                add(true, store, stream.name, range, "spent, but its bytes are still in " + path);
            else
                add(false, store, stream.name, range, "spent, and erased when keyd starts: " + path);
        }
    }

    /// The ranges of `wanted` that hold anything but zeros.
    static std::vector<pad_range> still_there(const std::string& path, const block_state& block,
                                              const interval_set& wanted) {
        std::vector<pad_range> out;
        const auto file = open_file(path, O_RDONLY);
        if (!file) return out;  // gone, and the bytes with it
        buffer piece(1U << 20U);
        for (const auto& range : wanted.intervals()) {
            for (std::uint64_t at = range.begin; at < range.end;) {
                const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), range.end - at));
                const auto place = pad_header_size + (at - block.header.range.offset);
                const off_t data = ::lseek(file->get(), static_cast<off_t>(place), SEEK_DATA);
                if (data < 0 || static_cast<std::uint64_t>(data) >= place + (range.end - at))
                    break;  // a hole to the end
                if (static_cast<std::uint64_t>(data) >= place + size) {
                    at += static_cast<std::uint64_t>(data) - place;
                    continue;
                }
                if (!read_at(file->get(), place, piece.span(0, size), path)) break;
                const auto view = piece.view(0, size);
                if (std::ranges::any_of(view, [](std::byte b) { return b != std::byte{0}; }))
                    out.push_back(pad_range{range.begin, range.end - range.begin});
                if (!out.empty() && out.back().offset == range.begin) break;
                at += size;
            }
        }
        return out;
    }

    /// One id names the same place of the same stream at every end.
    void audit_ids() {
        std::map<block_id, std::pair<const read_store*, const block_header*>> seen;
        for (const auto& store : after_) {
            for (const auto& stream : store.state.streams()) {
                for (const auto& [offset, block] : stream.blocks) {
                    const auto [it, fresh] = seen.emplace(block.header.id, std::pair(&store, &block.header));
                    const auto& other = *it->second.second;
                    if (fresh || (other.stream == block.header.stream && other.range == block.header.range)) continue;
                    add(true, store, stream.name, block.header.range,
                        fmt::format("the same block is {} -> {} at {}: its bytes may be sent from both ends",
                                    other.stream.sender, other.stream.receiver, it->second.first->site));
                }
            }
        }
    }

    /// What the receiver has taken the sender must have handed out.
    void audit_ends(const read_store& sender, const read_store& receiver) {
        if (sender.site == receiver.site) return;
        for (const auto& at_receiver : receiver.state.streams()) {
            if (at_receiver.name.sender != sender.site || at_receiver.name.receiver != receiver.site) continue;
            const auto index = sender.state.find(at_receiver.name);
            const stream_state none;
            const auto& at_sender = index < sender.state.streams().size() ? sender.state.streams()[index] : none;
            interval_set handed_out(no_limit);
            for (const auto& closed : at_sender.history)
                handed_out.add(closed.window.range.offset, closed.window.range.end());
            for (const auto& [offset, window] : at_sender.open) handed_out.add(window.range.offset, window.range.end());
            for (const auto& closed : at_receiver.history) audit_pair(sender, at_sender, handed_out, closed.used());
            for (const auto& [offset, window] : at_receiver.open)
                audit_pair(sender, at_sender, handed_out, window.range);
        }
    }

    void audit_pair(const read_store& sender, const stream_state& at_sender, const interval_set& handed_out,
                    pad_range taken) {
        if (taken.size == 0 || taken.end() <= at_sender.floor) return;
        const auto& name = at_sender.name;
        if (!at_sender.ever.contains(taken.offset, taken.end())) {
            add(true, sender, name, taken,
                "the receiver has taken bytes of a block that the sender's ledger does not know: "
                "is it an old copy?");
            return;
        }
        const auto* block = at_sender.data_block(taken);
        if (block == nullptr || block->spent.contains(taken.offset, taken.end())) return;
        if (handed_out.contains(taken.offset, taken.end()))
            add(false, sender, name, taken, "released here, but burnt at the receiver, which will refuse it");
        else
            add(true, sender, name, taken, "sent, received, and offered again: the sender's ledger has forgotten it");
    }

    std::vector<read_store> before_, after_;
    audit_report report_;
};

}  // namespace

std::size_t audit_report::findings() const {
    return static_cast<std::size_t>(std::ranges::count_if(entries, &entry::finding));
}

audit_report audit_stores(const std::vector<std::string>& directories) {
    return auditor(directories).run();
}

}  // namespace warifu
