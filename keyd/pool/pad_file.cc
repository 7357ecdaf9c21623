#include "keyd/pool/pad_file.h"

#include <algorithm>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "fs/base/assert.h"
#include "fs/base/buffer.h"
#include "fs/base/codec.h"
#include "fs/base/crc32c.h"
#include "fs/base/limits.h"
#include "keyd/pool/site_name.h"

namespace warifu {
namespace {

constexpr std::string_view pad_file_magic = "WARIPAD1";
constexpr std::uint16_t pad_file_version = 1;
constexpr std::uint32_t flag_data_crc = 1;
constexpr std::size_t header_used_size = 192;
constexpr std::size_t crc_offset = pad_header_size - 4;
static_assert(8 + 2 + 1 + 1 + 4 + 16 + 8 + 8 + 4 + 4 + 8 + 2 * site_name_field_size == header_used_size);

}  // namespace

std::uint32_t hello_region_size(std::uint64_t block_size) {
    return static_cast<std::uint32_t>(round_up(std::max<std::uint64_t>(4096, block_size / 1024), 4096));
}

result<void> check_block_header(const block_header& block) {
    const auto& range = block.range;
    if (range.size > pad_block_size_max) return fail(errc::too_large, "the block is over the limit of 1 GiB");
    if (range.size < pad_block_size_min || range.size % 4096 != 0)
        return fail(errc::bad_format, "the block's size is not a multiple of 4 KiB of at least 64 KiB");
    if (range.offset % 4096 != 0 || range.end() < range.offset || range.end() > (1ULL << 62U))
        return fail(errc::bad_format, "the block's offset is out of range");
    if (!is_site_name(block.stream.sender) || !is_site_name(block.stream.receiver))
        return fail(errc::bad_format, "a site name is malformed");
    const bool same = block.stream.sender == block.stream.receiver;
    const std::uint32_t hello = block.kind == block_kind::random ? 0 : hello_region_size(range.size);
    if (same != (block.kind == block_kind::random))
        return fail(errc::bad_format, "pads have two sites, random blocks have one");
    if (block.hello_size != hello)
        return fail(errc::bad_format, "the hello region has another size than its block asks for");
    if (block.id.is_zero()) return fail(errc::bad_format, "the block id is zero");
    return {};
}

byte_vector encode_pad_header(const pad_file_header& header) {
    const auto& block = header.block;
    writer out(pad_header_size);
    out.put_bytes(as_bytes_view(pad_file_magic)).put_be(pad_file_version);
    out.put_be(static_cast<std::uint8_t>(block.kind)).put_be(static_cast<std::uint8_t>(block.strength));
    out.put_be<std::uint32_t>(header.data_crc ? flag_data_crc : 0);
    out.put(block.id).put_be(block.range.offset).put_be(block.range.size).put_be(block.hello_size);
    out.put_be<std::uint32_t>(header.data_crc.value_or(0)).put_be<std::uint64_t>(0);
    put_site_name(out, block.stream.sender);
    put_site_name(out, block.stream.receiver);
    WARIFU_ASSERT(out.size() == header_used_size);
    out.put_bytes(byte_vector(crc_offset - header_used_size));
    out.put_be(crc32c(out.view()));
    return out.take();
}

result<pad_file_header> decode_pad_header(bytes_view sector) {
    if (sector.size() != pad_header_size) return fail(errc::bad_format, "shorter than a pad file's header");
    reader in(sector);
    TRY(const auto found_magic, in.take_bytes(pad_file_magic.size()));
    if (as_text(found_magic) != pad_file_magic) return fail(errc::bad_format, "not a pad file");
    TRY(const auto crc, reader(sector.subspan(crc_offset)).take_be<std::uint32_t>());
    if (crc != crc32c(sector.first(crc_offset))) return fail(errc::bad_checksum, "the header is damaged");
    TRY(const auto version, in.take_be<std::uint16_t>());
    if (version != pad_file_version) return fail(errc::bad_version, fmt::format("unknown version {}", version));
    TRY(const auto kind, in.take_be<std::uint8_t>());
    TRY(const auto strength, in.take_be<std::uint8_t>());
    TRY(const auto flags, in.take_be<std::uint32_t>());
    if (kind < 1 || kind > 2) return fail(errc::bad_format, "unknown kind of block");
    if (strength < 1 || strength > 3) return fail(errc::bad_format, "unknown claim");
    if (flags > flag_data_crc) return fail(errc::bad_format, "unknown flags");
    pad_file_header header;
    header.block.kind = static_cast<block_kind>(kind);
    header.block.strength = static_cast<claim>(strength);
    TRY_VOID(in.take(header.block.id));
    TRY(header.block.range.offset, in.take_be<std::uint64_t>());
    TRY(header.block.range.size, in.take_be<std::uint64_t>());
    TRY(header.block.hello_size, in.take_be<std::uint32_t>());
    TRY(const auto data_crc, in.take_be<std::uint32_t>());
    TRY(const auto reserved, in.take_be<std::uint64_t>());
    if (reserved != 0) return fail(errc::bad_format, "reserved bytes are set");
    if (flags == flag_data_crc) header.data_crc = data_crc;
    TRY(header.block.stream.sender, take_site_name(in));
    TRY(header.block.stream.receiver, take_site_name(in));
    TRY_VOID(check_block_header(header.block));
    return header;
}

namespace {

result<pad_file_header> read_header(int fd, const std::string& path) {
    TRY(const auto size, file_size(fd, path));
    if (size < pad_header_size) return fail(errc::bad_format, path + ": shorter than a pad file's header");
    byte_vector sector(pad_header_size);
    TRY_VOID(read_at(fd, 0, sector, path));
    auto header = decode_pad_header(sector);
    if (!header) return fail(header.error().code, path + ": " + header.error().text);
    const auto expected = pad_header_size + header->block.range.size;
    if (size != expected)
        return fail(errc::bad_format, fmt::format("{}: {}: {} bytes where its header says {}", path,
                                                  size < expected ? "truncated" : "too long", size, expected));
    return header;
}

}  // namespace

result<pad_file_header> read_pad_header(const std::string& path) {
    TRY(const unique_fd fd, open_file(path, O_RDONLY));
    return read_header(fd.get(), path);
}

result<pad_file_header> verify_pad_file(const std::string& path) {
    TRY(const unique_fd fd, open_file(path, O_RDONLY));
    TRY(const auto header, read_header(fd.get(), path));
    if (!header.data_crc) return fail(errc::bad_format, path + ": has no checksum: it comes from a keyd's own store");
    buffer piece(1U << 20U);
    std::uint32_t crc = 0;
    for (std::uint64_t done = 0; done < header.block.range.size;) {
        const auto step =
            static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), header.block.range.size - done));
        TRY_VOID(read_at(fd.get(), pad_header_size + done, piece.span(0, step), path));
        crc = crc32c(piece.view(0, step), crc);
        done += step;
    }
    if (crc != *header.data_crc)
        return fail(errc::bad_checksum, path + ": damaged: its bytes do not match their checksum");
    return header;
}

result<pad_file_writer> pad_file_writer::create(const std::string& directory, const block_header& block) {
    TRY_VOID(check_block_header(block));
    pad_file_writer out;
    out.block_ = block;
    out.directory_ = directory;
    out.final_ = fmt::format("{}/{}-{}-{:016x}-{}{}", directory, block.stream.sender, block.stream.receiver,
                             block.range.offset, to_text(block.id).substr(0, 8), pad_file_suffix);
    out.temporary_ = out.final_ + ".tmp";
    TRY(out.fd_, open_file(out.temporary_, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW));
    return out;
}

pad_file_writer::~pad_file_writer() {
    if (!fd_.is_open()) return;
    erase_range(fd_.get(), 0, pad_header_size + written_, temporary_);
    ::unlink(temporary_.c_str());
}

result<void> pad_file_writer::append(bytes_view bytes) {
    if (bytes.size() > block_.range.size - written_) return fail(errc::bad_argument, "more bytes than the block has");
    TRY_VOID(write_at(fd_.get(), pad_header_size + written_, bytes, temporary_));
    crc_ = crc32c(bytes, crc_);
    written_ += bytes.size();
    return {};
}

result<std::string> pad_file_writer::finish() {
    if (written_ != block_.range.size) return fail(errc::bad_argument, "fewer bytes than the block has");
    TRY_VOID(write_at(fd_.get(), 0, encode_pad_header(pad_file_header{block_, crc_}), temporary_));
    TRY_VOID(sync_data(fd_.get(), temporary_));
    TRY_VOID(rename_file(temporary_, final_));
    fd_.reset();
    TRY_VOID(sync_directory(directory_));
    return final_;
}

}  // namespace warifu
