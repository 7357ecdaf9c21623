// Opening, recovery and import.
#include "keyd/pool/pool.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/assert.h"
#include "fs/base/clock.h"
#include "fs/base/limits.h"
#include "keyd/pool/site_name.h"

namespace warifu {
namespace {

constexpr std::size_t copy_step = 1U << 20U;
constexpr int lock_tries_max = 20;
constexpr useconds_t lock_pause_us = 10'000;

result<std::vector<std::string>> list_directory(const std::string& path) {
    std::vector<std::string> names;
    std::error_code code;
    for (std::filesystem::directory_iterator it(path, code), end; !code && it != end; it.increment(code))
        names.push_back(it->path().filename().string());
    if (code) return fail(errc::io_error, "cannot list " + path + ": " + code.message());
    return names;
}

result<unique_fd> take_lock(const std::string& directory) {
    TRY(unique_fd lock, open_file(directory + "/lock", O_RDWR | O_CREAT));
    for (int i = 0; ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0; ++i) {
        if (i == lock_tries_max) return fail(errc::busy, directory + ": another key manager runs on this directory");
        ::usleep(
            lock_pause_us);  // the audit looks at the lock for a moment, and a keyd that was killed takes one to go
    }
    return lock;
}

result<bool> same_file_system(const std::string& a, const std::string& b) {
    struct stat first{};
    struct stat second{};
    if (::stat(a.c_str(), &first) != 0) return fail_errno("stat", a);
    if (::stat(b.c_str(), &second) != 0) return fail_errno("stat", b);
    return first.st_dev == second.st_dev;
}

result<void> copy_file(const std::string& from, const std::string& to, std::uint64_t size) {
    TRY(const unique_fd in, open_file(from, O_RDONLY));
    TRY(const unique_fd out, open_file(to, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW));
    buffer piece(copy_step);
    for (std::uint64_t done = 0; done < size;) {
        const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(copy_step, size - done));
        TRY_VOID(read_at(in.get(), done, piece.span(0, step), from));
        TRY_VOID(write_at(out.get(), done, piece.view(0, step), to));
        done += step;
    }
    return sync_data(out.get(), to);
}

}  // namespace

result<staged_block> stage_block(const pad_source::delivery& delivery, const std::string& directory) {
    if (!delivery.movable || delivery.data_offset != pad_header_size)
        return fail(errc::unsupported, delivery.path + ": only pad files are taken");
    TRY(const auto header, verify_pad_file(delivery.path));
    if (header.block != delivery.header) return fail(errc::conflict, delivery.path + ": changed while it was read");
    TRY(const bool same, same_file_system(delivery.path, directory));
    if (same) {
        TRY(const unique_fd fd, open_file(delivery.path, O_RDONLY));
        TRY_VOID(sync_data(fd.get(), delivery.path));  // zeros in place of lost key would be sent as if they were key
        return staged_block{header.block, delivery.path};
    }
    const std::string copy = fmt::format("{}/{}.staged", directory, to_text(header.block.id));
    auto copied = copy_file(delivery.path, copy, pad_header_size + header.block.range.size);
    if (!copied) {
        ::unlink(copy.c_str());
        return fail(copied.error());
    }
    return staged_block{header.block, copy};
}

result<void> check_not_hollow(bytes_view bytes, const std::string& path) {
    constexpr std::size_t probe = 64;
    for (std::size_t at = 0; at + probe <= bytes.size(); at += 4096) {
        const auto head = bytes.subspan(at, probe);
        if (std::ranges::all_of(head, [](std::byte b) { return b == std::byte{0}; }))
            return fail(errc::bad_checksum, path + ": lost its content: zeros are no key");
    }
    return {};
}

result<void> read_pad(const byte_place& place, bytes_span out) {
    TRY(const unique_fd fd, open_file(place.path, O_RDONLY));
    TRY_VOID(read_at(fd.get(), place.offset, out, place.path));
    return check_not_hollow(out, place.path);
}

result<std::unique_ptr<pool>> pool::open(pool_options options) {
    if (!is_site_name(options.site)) return fail(errc::bad_argument, "the site's name is malformed: " + options.site);
    if (options.blocks_directory.empty()) options.blocks_directory = options.directory + "/blocks";
    TRY_VOID(make_directory(options.directory));
    TRY_VOID(make_directory(options.directory + "/incoming"));
    TRY_VOID(make_directory(options.blocks_directory));
    // Who looks at the directory later (the audit) finds the blocks under the usual name.
    const std::string usual = options.directory + "/blocks";
    if (options.blocks_directory != usual && ::symlink(options.blocks_directory.c_str(), usual.c_str()) != 0 &&
        errno != EEXIST)
        return fail_errno("link", usual);
    TRY(unique_fd lock, take_lock(options.directory));
    const bool is_new = ::access((options.directory + "/ledger").c_str(), F_OK) != 0;
    if (is_new) {
        TRY(const auto names, list_directory(options.blocks_directory));
        if (std::ranges::any_of(names, [](const auto& name) { return name.ends_with(pad_file_suffix); }))
            return fail(errc::conflict, options.directory +
                                            ": has blocks but no ledger: their bytes may have been used; "
                                            "destroy the blocks or bring the ledger back");
    }
    auto opened = ledger::open(options.directory, options.site);
    if (!opened) return fail(opened.error());
    std::unique_ptr<pool> out(new pool(std::move(options), std::move(lock), std::move(opened->log)));
    out->opened_sequence_ = opened->contents.next_sequence;
    for (const auto& event : opened->contents.records) {
        auto applied = out->state_.apply(event);
        if (!applied) return fail(applied.error().code, out->options_.directory + "/ledger: " + applied.error().text);
    }
    TRY_VOID(out->recover());
    return out;
}

pool::~pool() = default;

std::string pool::block_path(const block_id& id) const {
    return fmt::format("{}/{}{}", options_.blocks_directory, to_text(id), pad_file_suffix);
}

result<void> pool::record(const ledger_record& event) {
    TRY_VOID(log_.append(event));
    const auto applied = state_.apply(event);
    WARIFU_ASSERT(applied);  // the pool checks before it records
    return {};
}

result<void> pool::record_durably(const ledger_record& event) {
    TRY_VOID(log_.append(event));
    TRY_VOID(log_.sync());
    const auto applied = state_.apply(event);
    WARIFU_ASSERT(applied);
    compact_when_due();
    return {};
}

/// What asked for it has its record already: a compaction that fails (the disk is full) concerns nobody, and is tried
/// again when the ledger has grown.
void pool::compact_when_due() {
    if (log_.size() < std::max({options_.compact_above, 4 * compacted_size_, compact_retry_size_})) return;
    if (log_.replace(state_.snapshot())) compacted_size_ = log_.size();
    else compact_retry_size_ = log_.size() + log_.size() / 4;
}

/// What was out when the last keyd ended is burnt, unless its holder may still live; files and ledger are made to
/// agree; what is spent gets erased.
result<void> pool::recover() {
    const auto& streams = state_.streams();
    for (std::uint16_t i = 0; i < streams.size(); ++i) {
        while (!streams[i].open.empty() && !(options_.keep_windows && !streams[i].is_random())) {
            const auto window = streams[i].open.begin()->second;
            TRY_VOID(record(window_closed{i, window.range, window.range.end(), true}));
        }
        std::vector<std::uint64_t> offsets;
        for (const auto& [offset, block] : streams[i].blocks) offsets.push_back(offset);
        for (const auto offset : offsets) TRY_VOID(recover_block(i, streams[i].blocks.at(offset)));
    }
    TRY_VOID(log_.sync());
    TRY_VOID(recover_strays());
    compact_when_due();
    return {};
}

result<void> pool::recover_block(std::uint16_t stream, const block_state& block) {
    const auto path = block_path(block.header.id);
    const std::uint64_t offset = block.header.range.offset;
    auto header = read_pad_header(path);
    if (!header || header->block != block.header) {
        lost_bytes_ += block.free_bytes();
        TRY_VOID(record(block_gone{stream, offset}));  // recover_strays erases what is left of the file
        return {};
    }
    if (header->data_crc) {
        TRY(const unique_fd fd, open_file(path, O_RDWR));
        TRY_VOID(write_at(fd.get(), 0, encode_pad_header(pad_file_header{block.header, std::nullopt}), path));
        TRY_VOID(sync_data(fd.get(), path));
    }
    touched_.emplace(stream, offset);
    return {};
}

/// Files of the store that the ledger does not hold as blocks: known ids are leftovers and get erased; others are
/// deliveries whose import was cut short and go back to incoming/.
result<void> pool::recover_strays() {
    std::set<std::string> expected;
    for (const auto& stream : state_.streams())
        for (const auto& [offset, block] : stream.blocks) expected.insert(to_text(block.header.id) + ".pad");
    TRY(const auto names, list_directory(options_.blocks_directory));
    for (const auto& name : names) {
        if (expected.contains(name)) continue;
        const auto path = options_.blocks_directory + "/" + name;
        const auto id = uuid_from_text(std::string_view(name).substr(0, 36));
        const bool known = id && state_.ids().contains(block_id{*id});
        if (known || !name.ends_with(pad_file_suffix)) {
            TRY(const unique_fd fd, open_file(path, O_RDWR | O_NOFOLLOW));
            TRY(const auto size, file_size(fd.get(), path));
            TRY_VOID(erase_range(fd.get(), 0, size, path));
            TRY_VOID(remove_file(path));
        } else {
            TRY(const bool same, same_file_system(path, incoming_directory()));
            // On a file system of its own it was copied there: the original still waits where it was delivered.
            if (same) TRY_VOID(rename_file(path, incoming_directory() + "/" + name));
            if (!same) TRY_VOID(remove_file(path));
        }
    }
    return {};
}

result<void> pool::admits(const block_header& header) const {
    TRY_VOID(check_block_header(header));
    const auto& name = header.stream;
    if (name.sender != options_.site && name.receiver != options_.site)
        return fail(errc::denied,
                    fmt::format("the block is for {} -> {}, not for {}", name.sender, name.receiver, options_.site));
    const auto& peer = name.sender == options_.site ? name.receiver : name.sender;
    const bool is_known =
        peer == options_.site || options_.peers.empty() || std::ranges::count(options_.peers, peer) != 0;
    if (!is_known) return fail(errc::denied, "there is no link to site " + peer);
    if (state_.ids().contains(header.id)) {
        for (const auto& stream : state_.streams())
            for (const auto& [offset, block] : stream.blocks)
                if (block.header.id == header.id && block.header != header)
                    return fail(errc::conflict, "the block id is known with another direction or place");
        return fail(errc::exists, "the block was imported before");
    }
    const auto index = state_.find(name);
    if (index < state_.streams().size() &&
        state_.streams()[index].ever.intersects(header.range.offset, header.range.end()))
        return fail(errc::exists, "another block of the stream covered this range before");
    if (index == state_.streams().size() && index >= pad_stream_count_max) return fail(errc::busy, "too many streams");
    if (state_.block_count() >= pad_block_count_max)
        return fail(errc::busy, "the store holds as many blocks as it may");
    if (state_.ids().size() >= pad_block_id_count_max)
        return fail(errc::too_large, "as many blocks were imported as a ledger can remember");
    return {};
}

result<void> pool::import(const staged_block& staged) {
    TRY_VOID(admits(staged.header));
    const auto path = block_path(staged.header.id);
    TRY_VOID(rename_file(staged.path, path));
    TRY_VOID(sync_directory(options_.blocks_directory));
    TRY(const auto stream, find_or_add(staged.header.stream));
    TRY_VOID(record_durably(block_imported{stream, staged.header, realtime_ns()}));
    // The checksum says 32 bits about bytes that will be erased: it goes first.
    TRY(const unique_fd fd, open_file(path, O_RDWR));
    TRY_VOID(write_at(fd.get(), 0, encode_pad_header(pad_file_header{staged.header, std::nullopt}), path));
    TRY_VOID(sync_data(fd.get(), path));
    // With its fresh hello slots used-up blocks may be able to go; and it may lie below the floor itself.
    for (const auto& [offset, block] : state_.streams()[stream].blocks)
        if (block.free_bytes() == 0) touch(stream, offset);
    return {};
}

result<std::uint16_t> pool::find(const stream_name& stream, role wanted) const {
    const bool is_sender = stream.sender == options_.site;
    const bool is_receiver = stream.receiver == options_.site;
    if (is_sender == is_receiver) return fail(errc::not_found, "the stream does not start or end at this site");
    if ((wanted == role::send && !is_sender) || (wanted == role::receive && !is_receiver))
        return fail(errc::bad_argument, "this site is the other end of the stream");
    const auto& peer = is_sender ? stream.receiver : stream.sender;
    if (!options_.peers.empty() && std::ranges::count(options_.peers, peer) == 0)
        return fail(errc::not_found, "there is no link to site " + peer);
    const auto index = state_.find(stream);
    if (index == state_.streams().size()) return fail(errc::no_key, "no key has arrived yet");
    return static_cast<std::uint16_t>(index);
}

result<std::uint16_t> pool::find_or_add(const stream_name& stream) {
    const auto index = static_cast<std::uint16_t>(state_.find(stream));
    if (index < state_.streams().size()) return index;
    if (index >= pad_stream_count_max) return fail(errc::busy, "too many streams");
    TRY_VOID(record(stream_added{index, stream}));
    return index;
}

}  // namespace warifu
