#pragma once
// Strict reading of JSON: a cursor that knows its file and its path, so that every complaint names both, as in
// "sites/site1/site.json: $.server.listen: expected a string". Also whole files in and out.

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/error.h"

namespace warifu {

using ordered_json = nlohmann::ordered_json;

/// One value of a parsed document, which it refers to and which must outlive it.
class json_node {
  public:
    json_node(const ordered_json& value, std::string file) : value_(&value), file_(std::move(file)) {}

    /// bad_format "FILE: PATH: what".
    error complaint(std::string_view what) const;

    /// Success when this is an object that has no other keys than these.
    result<void> only_keys(std::initializer_list<std::string_view> known) const;
    /// A member of this object; a complaint when it is missing.
    result<json_node> member(std::string_view key) const;
    bool has(std::string_view key) const;
    /// The elements of this array.
    result<std::vector<json_node>> elements(std::size_t count_max) const;
    /// A string of 1 to `size_max` bytes without control characters.
    result<std::string> text(std::size_t size_max) const;
    result<bool> boolean() const;
    /// An integer within bounds.
    result<std::uint64_t> number(std::uint64_t least, std::uint64_t most) const;

    // A required member and its value in one step.
    result<std::string> text_member(std::string_view key, std::size_t size_max) const;
    result<std::uint64_t> number_member(std::string_view key, std::uint64_t least, std::uint64_t most) const;

  private:
    json_node child(const ordered_json& value, std::string path) const;

    const ordered_json* value_;
    std::string file_;
    std::string path_ = "$";
};

/// Parses a document; `file` is only for messages. Errors: bad_format with line and column, or the path of a key that
/// stands twice; too_large over config_size_max bytes.
result<ordered_json> parse_json(std::string_view text, const std::string& file);

/// The contents of a configuration file. Errors: not_found, access_denied, too_large, io_error, all naming the file.
result<std::string> read_text_file(const std::filesystem::path& file);

/// Puts `text` in place of the file in one step (temporary file, fsync, rename, fsync of the directory).
result<void> write_text_file(const std::filesystem::path& file, std::string_view text);

}  // namespace warifu
