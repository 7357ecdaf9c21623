#pragma once
// The pad file: one block of pad or random bytes on its way to a keyd, or in its store. FORMAT.md has the table.
// While it travels, the header holds a CRC32C of the bytes; the store removes it (it says 32 bits about bytes that are
// to be erased).

#include <optional>
#include <string>

#include "keyd/pad_source.h"
#include "keyd/pool/files.h"

namespace warifu {

inline constexpr std::size_t pad_header_size = 4096;
inline constexpr std::string_view pad_file_suffix = ".pad";

struct pad_file_header {
    block_header block;
    std::optional<std::uint32_t> data_crc;
};

/// Size of the hello region of a pad block: 1/1024 of it, at least 4 KiB, whole 4 KiB.
std::uint32_t hello_region_size(std::uint64_t block_size);
/// Whether the header keeps the limits: sizes, names, alignment, hello region. bad_format, too_large.
result<void> check_block_header(const block_header& block);

byte_vector encode_pad_header(const pad_file_header& header);
/// bad_format, bad_version, bad_checksum; the text does not name the file.
result<pad_file_header> decode_pad_header(bytes_view sector);

/// The header of a file whose length fits. Errors name the file.
result<pad_file_header> read_pad_header(const std::string& path);
/// Reads the whole file and compares its CRC32C. bad_checksum names the file. Worker thread: takes long.
result<pad_file_header> verify_pad_file(const std::string& path);

/// Writes one pad file under a temporary name; finish() makes it durable and gives it its name. Without finish()
/// nothing stays.
class pad_file_writer {
  public:
    /// `directory` must exist. The name is SENDER-RECEIVER-OFFSET-ID.pad.
    static result<pad_file_writer> create(const std::string& directory, const block_header& block);
    pad_file_writer(pad_file_writer&&) noexcept = default;
    pad_file_writer& operator=(pad_file_writer&&) = delete;
    pad_file_writer(const pad_file_writer&) = delete;
    ~pad_file_writer();

    result<void> append(bytes_view bytes);
    /// REQUIRES: as many bytes as the header says were appended (bad_argument otherwise). Returns the final path.
    result<std::string> finish();

  private:
    pad_file_writer() = default;

    block_header block_;
    std::string directory_, temporary_, final_;
    unique_fd fd_;
    std::uint64_t written_ = 0;
    std::uint32_t crc_ = 0;
};

}  // namespace warifu
