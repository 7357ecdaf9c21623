#include "tests/posix/table.h"

#include <cerrno>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sstream>
#include <utility>

namespace warifu::posix {
namespace {

// clang-format off: pairs in rows
constexpr std::pair<const char*, int> errors[] = {
    {"EACCES", EACCES}, {"EPERM", EPERM}, {"ENOENT", ENOENT}, {"EEXIST", EEXIST}, {"ENOTDIR", ENOTDIR},
    {"EISDIR", EISDIR}, {"ENOTEMPTY", ENOTEMPTY}, {"EINVAL", EINVAL}, {"ELOOP", ELOOP}, {"ENODEV", ENODEV},
    {"ENAMETOOLONG", ENAMETOOLONG}, {"EXDEV", EXDEV}, {"EBUSY", EBUSY}, {"EMLINK", EMLINK}, {"EFBIG", EFBIG},
    {"ENXIO", ENXIO}, {"EBADF", EBADF}, {"EROFS", EROFS}, {"ETXTBSY", ETXTBSY}, {"EOPNOTSUPP", EOPNOTSUPP},
    {"ENODATA", ENODATA}, {"ERANGE", ERANGE}, {"E2BIG", E2BIG}, {"ENOSPC", ENOSPC}, {"EAGAIN", EAGAIN},
    {"ENOTTY", ENOTTY}, {"ESPIPE", ESPIPE}, {"ESTALE", ESTALE}, {"EIO", EIO}, {"EINTR", EINTR}, {"ENOSYS", ENOSYS},
    {"EFAULT", EFAULT},
};
// clang-format on

/// {n:255}: 255 letters; {path:4095:f}: a path of 4095 bytes that ends in f and leads nowhere else ("./././f").
result<std::string> expand(const std::string& word) {
    const auto open = word.find('{');
    const auto close = word.find('}', open);
    if (open == std::string::npos || close == std::string::npos) return word;
    std::istringstream inside(word.substr(open + 1, close - open - 1));
    std::string kind, count, last, made;
    std::getline(inside, kind, ':');
    std::getline(inside, count, ':');
    std::getline(inside, last, ':');
    const std::size_t size = std::strtoull(count.c_str(), nullptr, 10);
    if (kind == "n" && size != 0) {
        made.assign(size, 'n');
    } else if (kind == "path" && size > last.size()) {
        const std::size_t lead = size - last.size();
        if (lead % 2 != 0) made = "/";
        while (made.size() < lead) made = "./" + made;
        made += last;
    } else {
        return fail(errc::bad_format, fmt::format("'{}' is no {{n:COUNT}} or {{path:COUNT:LAST}}", word));
    }
    return word.substr(0, open) + made + word.substr(close + 1);
}

/// Words are separated by blanks; 'single quotes' keep blanks, "" is not special.
result<std::vector<std::string>> split(const std::string& text) {
    std::vector<std::string> words;
    std::string word;
    bool quoted = false;
    bool any = false;
    const auto end = [&]() -> result<void> {
        if (any) {
            TRY(auto expanded, expand(word));
            words.push_back(std::move(expanded));
        }
        word.clear();
        any = false;
        return {};
    };
    for (const char c : text) {
        if (c == '\'') {
            quoted = !quoted;
            any = true;
        } else if (!quoted && (c == ' ')) {
            TRY_VOID(end());
        } else if (!quoted && c == '#' && !any) {
            break;
        } else {
            word += c;
            any = true;
        }
    }
    if (quoted) return fail(errc::bad_format, "an open quote");
    TRY_VOID(end());
    return words;
}

result<table_line> parse_line(int number, const std::string& text) {
    TRY(auto words, split(text));
    table_line line;
    line.number = number;
    line.text = text.substr(std::min(text.find_first_not_of(' '), text.size()));
    bool outcome = false;
    for (auto& word : words) {
        if (word == "->")
            outcome = true;
        else
            (outcome ? line.expected : line.words).push_back(std::move(word));
    }
    if (outcome && line.expected.empty()) return fail(errc::bad_format, "nothing stands after '->'");
    for (const auto& word : line.expected)
        if (error_number(word) == 0 && word.find_first_not_of("-0123456789") != std::string::npos)
            return fail(errc::bad_format, fmt::format("'{}' is no error and no number", word));
    return line;
}

/// "case NAME", then perhaps "[not ext4, tmpfs: why]".
result<table_case> parse_heading(const std::string& file, int number, std::string text) {
    table_case made;
    made.file = file;
    made.number = number;
    text = text.substr(5);
    if (const auto at = text.find(" [not "); at != std::string::npos) {
        const auto colon = text.find(':', at);
        if (colon == std::string::npos) return fail(errc::bad_format, "a deviation without a reason");
        std::istringstream names(text.substr(at + 6, colon - at - 6));
        for (std::string name; std::getline(names, name, ',');)
            made.except.push_back(name.substr(name.find_first_not_of(' ')));
        text.resize(at);
    }
    made.name = text;
    return made;
}

}  // namespace

int error_number(const std::string& name) {
    for (const auto& [known, number] : errors)
        if (name == known) return number;
    return 0;
}

std::string error_name(int number) {
    for (const auto& [known, value] : errors)
        if (number == value) return known;
    return std::to_string(number);
}

result<std::vector<table_case>> read_table(const std::string& path) {
    std::ifstream in(path);
    if (!in) return fail(errc::not_found, fmt::format("{}: cannot be read", path));
    std::vector<table_case> cases;
    const std::string file = std::filesystem::path(path).filename().string();
    int number = 0;
    for (std::string text; std::getline(in, text);) {
        ++number;
        const auto located = [&](const error& why) {
            return fail(errc::bad_format, fmt::format("{}:{}: {}", path, number, why.text));
        };
        if (text.starts_with("case ")) {
            auto made = parse_heading(file, number, text);
            if (!made) return located(made.error());
            cases.push_back(std::move(*made));
            continue;
        }
        auto line = parse_line(number, text);
        if (!line) return located(line.error());
        if (line->words.empty()) continue;
        if (cases.empty()) return located(error(errc::bad_format, "a call before the first case"));
        cases.back().lines.push_back(std::move(*line));
    }
    return cases;
}

}  // namespace warifu::posix
