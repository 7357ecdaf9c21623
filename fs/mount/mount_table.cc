#include "fs/mount/mount_table.h"

#include <fstream>
#include <sstream>

namespace warifu {
namespace {

constexpr bool is_octal(char c) {
    return c >= '0' && c <= '7';
}

/// Undoes the escapes of blanks, line feeds and backslashes: \040 and the like.
std::string unescaped(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
            is_octal(text[i + 3])) {
            out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
            i += 3;
        } else {
            out += text[i];
        }
    }
    return out;
}

}  // namespace

mount_entry parse_mount_line(const std::string& line) {
    std::istringstream words(line);
    std::string id, parent, root, options, word;
    mount_entry entry;
    words >> id >> parent >> entry.device >> root >> entry.where >> options;
    while (words >> word && word != "-") {  // optional fields
    }
    words >> entry.type >> entry.source;
    entry.where = unescaped(entry.where);
    entry.source = unescaped(entry.source);
    return entry;
}

std::vector<mount_entry> read_mount_table() {
    std::vector<mount_entry> mounts;
    std::ifstream table("/proc/self/mountinfo");
    for (std::string line; std::getline(table, line);) {
        mounts.push_back(parse_mount_line(line));
        if (mounts.back().type.empty()) mounts.pop_back();
    }
    return mounts;
}

}  // namespace warifu
