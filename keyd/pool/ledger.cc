#include "keyd/pool/ledger.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "fs/base/assert.h"
#include "fs/base/clock.h"
#include "fs/base/codec.h"
#include "fs/base/crc32c.h"
#include "fs/base/limits.h"
#include "fs/base/random.h"
#include "keyd/pool/pad_file.h"
#include "keyd/pool/site_name.h"

namespace warifu {
namespace {

constexpr std::string_view ledger_magic = "WARILEDG";
constexpr std::uint16_t ledger_version = 2;
constexpr std::uint16_t version_without_numbers = 1;  // zeros for the header's first and durable
static_assert(8 + 2 + 2 + 16 + 8 + 8 + site_name_field_size + 8 + 8 + 4 == ledger_header_size);
static_assert(4 + 4 + 8 + 8 == ledger_frame_size);

byte_vector encode_header(const ledger_header& header) {
    writer out(ledger_header_size);
    out.put_bytes(as_bytes_view(ledger_magic)).put_be(ledger_version).put_be<std::uint16_t>(0).put(header.id);
    out.put_be(header.generation).put_be(static_cast<std::uint64_t>(header.created_ns));
    put_site_name(out, header.site);
    out.put_be(header.first).put_be(header.durable);
    out.put_be(crc32c(out.view()));
    return out.take();
}

result<ledger_header> decode_header(bytes_view bytes) {
    if (bytes.size() < ledger_header_size) return fail(errc::bad_format, "shorter than a ledger's header");
    reader in(bytes.first(ledger_header_size));
    TRY(const auto found, in.take_bytes(ledger_magic.size()));
    if (as_text(found) != ledger_magic) return fail(errc::bad_format, "not a ledger");
    TRY(const auto crc, reader(bytes.subspan(ledger_header_size - 4)).take_be<std::uint32_t>());
    if (crc != crc32c(bytes.first(ledger_header_size - 4))) return fail(errc::bad_checksum, "the header is damaged");
    TRY(const auto version, in.take_be<std::uint16_t>());
    if (version != ledger_version && version != version_without_numbers)
        return fail(errc::bad_version, fmt::format("unknown version {}", version));
    TRY_VOID(in.take_be<std::uint16_t>());
    ledger_header header;
    TRY_VOID(in.take(header.id));
    TRY(header.generation, in.take_be<std::uint64_t>());
    TRY(const auto created, in.take_be<std::uint64_t>());
    header.created_ns = static_cast<std::int64_t>(created);
    TRY(header.site, take_site_name(in));
    TRY(header.first, in.take_be<std::uint64_t>());
    TRY(header.durable, in.take_be<std::uint64_t>());
    if (version == version_without_numbers) header.first = header.durable = 0;
    if (version == ledger_version && (header.first == 0 || header.durable < header.first))
        return fail(errc::bad_format, "the header's record numbers make no sense");
    return header;
}

struct frame {
    std::uint64_t sequence = 0;
    std::uint64_t durable = 0;
    bytes_view payload;
    std::size_t size() const { return ledger_frame_size + payload.size(); }
};

/// The frame at the start of `bytes`, if there is a whole and undamaged one.
result<frame> take_frame(bytes_view bytes) {
    reader in(bytes);
    frame f;
    TRY(const auto crc, in.take_be<std::uint32_t>());
    TRY(const auto size, in.take_be<std::uint32_t>());
    if (size == 0 || size > ledger_record_size_max) return fail(errc::bad_format, "a record's size is out of range");
    TRY(f.sequence, in.take_be<std::uint64_t>());
    TRY(f.durable, in.take_be<std::uint64_t>());
    TRY(f.payload, in.take_bytes(size));
    if (crc32c(bytes.subspan(4, f.size() - 4)) != crc) return fail(errc::bad_checksum, "a record is damaged");
    return f;
}

/// Whether any later record says that `sequence` had been flushed: then its damage is no torn tail.
bool was_durable(bytes_view rest, std::uint64_t sequence) {
    for (std::size_t at = 1; at + ledger_frame_size < rest.size(); ++at) {
        const auto later = take_frame(rest.subspan(at));
        if (later && later->sequence > sequence && later->durable > sequence) return true;
    }
    return false;
}

}  // namespace

result<ledger_contents> parse_ledger(bytes_view file) {
    ledger_contents out;
    TRY(out.header, decode_header(file));
    out.next_sequence = out.header.first;
    std::size_t at = ledger_header_size;
    while (at < file.size()) {
        const auto found = take_frame(file.subspan(at));
        if (found && out.next_sequence == 0) out.next_sequence = found->sequence;
        if (!found || found->sequence != out.next_sequence) {
            if (out.next_sequence < out.header.durable || was_durable(file.subspan(at), out.next_sequence))
                return fail(errc::bad_checksum,
                            fmt::format("a record that had been flushed is damaged at byte {}", at));
            out.torn = true;
            break;
        }
        TRY(auto record, decode_ledger_record(found->payload));
        out.records.push_back(std::move(record));
        ++out.next_sequence;
        at += found->size();
    }
    if (out.next_sequence < out.header.durable)
        return fail(errc::bad_checksum, "records that had been flushed are cut off");
    out.good_size = at;
    if (out.next_sequence == 0) out.next_sequence = 1;
    return out;
}

result<ledger_contents> read_ledger(const std::string& path) {
    TRY(const unique_fd fd, open_file(path, O_RDONLY));
    TRY(const auto size, file_size(fd.get(), path));
    if (size > (1ULL << 30U)) return fail(errc::too_large, path + ": over 1 GiB: not a ledger");
    byte_vector bytes(size);
    TRY_VOID(read_at(fd.get(), 0, bytes, path));
    auto contents = parse_ledger(bytes);
    if (!contents) return fail(contents.error().code, path + ": " + contents.error().text);
    return contents;
}

result<opened_ledger> ledger::open(const std::string& directory, const std::string& site) {
    ledger out;
    out.directory_ = directory;
    out.path_ = directory + "/ledger";
    auto found = read_ledger(out.path_);
    if (!found && found.error().code != errc::not_found) return fail(found.error());
    if (!found) {
        ledger_contents contents;
        out.header_ = ledger_header{site, random_uuid<decltype(ledger_header::id)>(), 0, realtime_ns()};
        TRY_VOID(out.write_new({}));
        contents.header = out.header_;
        contents.good_size = out.size_;
        contents.next_sequence = out.next_sequence_;
        return opened_ledger{std::move(out), std::move(contents)};
    }
    ledger_contents contents = std::move(*found);
    if (contents.header.site != site)
        return fail(errc::denied,
                    fmt::format("{} belongs to site {}, not to {}", out.path_, contents.header.site, site));
    out.header_ = contents.header;
    TRY(out.fd_, open_file(out.path_, O_RDWR));
    out.size_ = contents.good_size;
    out.next_sequence_ = contents.next_sequence;
    if (::ftruncate(out.fd_.get(), static_cast<off_t>(out.size_)) != 0) return fail_errno("truncate", out.path_);
    if (::fsync(out.fd_.get()) != 0) return fail_errno("flush", out.path_);
    out.durable_ = out.next_sequence_;
    return opened_ledger{std::move(out), std::move(contents)};
}

byte_vector ledger::frame(const ledger_record& record) {
    const auto payload = encode_ledger_record(record);
    writer body(ledger_frame_size + payload.size());
    body.put_be(static_cast<std::uint32_t>(payload.size())).put_be(next_sequence_).put_be(durable_).put_bytes(payload);
    writer out(ledger_frame_size + payload.size());
    out.put_be(crc32c(body.view())).put_bytes(body.view());
    return out.take();
}

result<void> ledger::append(const ledger_record& record) {
    if (failed_) return fail(errc::io_error, path_ + ": an earlier write failed; keyd must be restarted");
    const auto bytes = frame(record);
    auto written = write_at(fd_.get(), size_, bytes, path_);
    if (!written) {
        // A full disk is no reason to give up, as long as the piece of a record can be taken back.
        failed_ = ::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0;
        return written;
    }
    size_ += bytes.size();
    ++next_sequence_;
    return {};
}

result<void> ledger::sync() {
    if (failed_) return fail(errc::io_error, path_ + ": an earlier write failed; keyd must be restarted");
    if (durable_ == next_sequence_) return {};
    auto flushed = sync_data(fd_.get(), path_);
    if (!flushed) {
        failed_ = true;
        return flushed;
    }
    durable_ = next_sequence_;
    return {};
}

result<void> ledger::replace(const std::vector<ledger_record>& records) {
    return replace_beyond(0, records);
}

result<void> ledger::replace_beyond(std::uint64_t sequence, const std::vector<ledger_record>& records) {
    if (failed_) return fail(errc::io_error, path_ + ": an earlier write failed; keyd must be restarted");
    const auto header = header_;
    const auto next_sequence = next_sequence_;
    ++header_.generation;
    next_sequence_ = std::max(next_sequence_, sequence + 1);
    auto written = write_new(records);
    if (written || failed_) return written;
    header_ = header;  // the old file is as it was
    next_sequence_ = next_sequence;
    (void)remove_file(path_ + ".new");  // on a full disk its room is needed
    return written;
}

result<void> ledger::write_new(const std::vector<ledger_record>& records) {
    const std::string temporary = path_ + ".new";
    TRY(unique_fd fd, open_file(temporary, O_RDWR | O_CREAT | O_TRUNC));
    header_.first = next_sequence_;
    header_.durable = next_sequence_ + records.size();
    byte_vector pending = encode_header(header_);
    std::uint64_t at = 0;
    const auto flush = [&]() -> result<void> {
        TRY_VOID(write_at(fd.get(), at, pending, temporary));
        at += pending.size();
        pending.clear();
        return {};
    };
    for (const auto& record : records) {
        const auto bytes = frame(record);
        ++next_sequence_;
        pending.insert(pending.end(), bytes.begin(), bytes.end());
        if (pending.size() > (1U << 20U)) TRY_VOID(flush());
    }
    TRY_VOID(flush());
    if (::fsync(fd.get()) != 0) return fail_errno("flush", temporary);
    failed_ = true;  // which file the name stands for is not known until the directory has been flushed
    TRY_VOID(rename_file(temporary, path_));
    TRY_VOID(sync_directory(directory_));
    failed_ = false;
    fd_ = std::move(fd);
    size_ = at;
    durable_ = next_sequence_;
    return {};
}

}  // namespace warifu
