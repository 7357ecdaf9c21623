#include "fs/config/json_node.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/limits.h"

namespace warifu {
namespace {

/// Closes a descriptor at the end of the scope.
class descriptor {
  public:
    explicit descriptor(int fd) : fd_(fd) {}
    descriptor(const descriptor&) = delete;
    descriptor& operator=(const descriptor&) = delete;
    ~descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    int get() const { return fd_; }

  private:
    int fd_;
};

error file_error(const std::filesystem::path& file, int number) {
    const errc code = number == ENOENT || number == ENOTDIR ? errc::not_found
                      : number == EACCES || number == EPERM ? errc::access_denied
                      : number == ENOSPC                    ? errc::no_space
                                                            : errc::io_error;
    return error(code, fmt::format("{}: {}", file.string(), std::strerror(number)));
}

/// A key as it stands in a path: plain, or quoted where it is odd; long ones are cut.
std::string path_step(std::string_view key) {
    const bool plain = !key.empty() && key.size() <= 64 && std::ranges::all_of(key, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    });
    if (plain) return fmt::format(".{}", key);
    std::string quoted;
    for (const char c : key.substr(0, 32)) quoted.push_back(c >= ' ' && c <= '~' && c != '"' ? c : '?');
    return fmt::format("[\"{}\"]", quoted);
}

std::string position(std::string_view text, std::size_t byte) {
    const std::string_view before = text.substr(0, std::min(byte > 0 ? byte - 1 : 0, text.size()));
    const auto line = 1 + std::ranges::count(before, '\n');
    const auto line_start = before.rfind('\n');
    const auto column = line_start == std::string_view::npos ? before.size() + 1 : before.size() - line_start;
    return fmt::format("line {}, column {}", line, column);
}

/// Watches a parse for keys that stand twice in one object (the library would silently keep one of them) and for depth.
class parse_watch {
  public:
    bool operator()(int depth, ordered_json::parse_event_t event, const ordered_json& parsed) {
        using event_type = ordered_json::parse_event_t;
        if (depth > depth_max) too_deep_ = true;
        if (event == event_type::object_start) keys_.emplace_back();
        if (event == event_type::object_end && !keys_.empty()) keys_.pop_back();
        if (event == event_type::key && !keys_.empty() && duplicate_.empty()) {
            const auto& key = parsed.get_ref<const std::string&>();
            if (!keys_.back().insert(key).second) duplicate_ = path_step(key);
        }
        return true;
    }
    const std::string& duplicate() const { return duplicate_; }
    bool too_deep() const { return too_deep_; }

  private:
    static constexpr int depth_max = 16;
    std::vector<std::set<std::string>> keys_;
    std::string duplicate_;
    bool too_deep_ = false;
};

}  // namespace

error json_node::complaint(std::string_view what) const {
    return error(errc::bad_format, fmt::format("{}: {}: {}", file_, path_, what));
}

json_node json_node::child(const ordered_json& value, std::string path) const {
    json_node node(value, file_);
    node.path_ = std::move(path);
    return node;
}

result<void> json_node::only_keys(std::initializer_list<std::string_view> known) const {
    if (!value_->is_object()) return fail(complaint("expected an object"));
    for (const auto& [key, value] : value_->items()) {
        if (std::ranges::find(known, std::string_view(key)) == known.end()) {
            return fail(child(value, path_ + path_step(key))
                            .complaint(fmt::format("unknown key (known here: {})", fmt::join(known, ", "))));
        }
    }
    return {};
}

result<json_node> json_node::member(std::string_view key) const {
    if (!value_->is_object()) return fail(complaint("expected an object"));
    const auto found = value_->find(key);
    const std::string path = path_ + path_step(key);
    if (found == value_->end()) return fail(child(*value_, path).complaint("missing"));
    return child(*found, path);
}

bool json_node::has(std::string_view key) const {
    return value_->is_object() && value_->contains(key);
}

result<std::vector<json_node>> json_node::elements(std::size_t count_max) const {
    if (!value_->is_array()) return fail(complaint("expected an array"));
    if (value_->size() > count_max) return fail(complaint(fmt::format("more than {} elements", count_max)));
    std::vector<json_node> nodes;
    nodes.reserve(value_->size());
    for (std::size_t i = 0; i < value_->size(); ++i)
        nodes.push_back(child((*value_)[i], fmt::format("{}[{}]", path_, i)));
    return nodes;
}

result<std::string> json_node::text(std::size_t size_max) const {
    if (!value_->is_string()) return fail(complaint("expected a string"));
    const auto& value = value_->get_ref<const std::string&>();
    if (value.empty()) return fail(complaint("expected a string that is not empty"));
    if (value.size() > size_max) return fail(complaint(fmt::format("longer than {} bytes", size_max)));
    if (std::ranges::any_of(value, [](char c) { return static_cast<unsigned char>(c) < 0x20U || c == 0x7f; }))
        return fail(complaint("control characters are not allowed"));
    return value;
}

result<bool> json_node::boolean() const {
    if (!value_->is_boolean()) return fail(complaint("expected true or false"));
    return value_->get<bool>();
}

result<std::uint64_t> json_node::number(std::uint64_t least, std::uint64_t most) const {
    const std::string wanted = fmt::format("expected an integer from {} to {}", least, most);
    if (!value_->is_number_integer()) return fail(complaint(wanted));
    if (!value_->is_number_unsigned() && value_->get<std::int64_t>() < 0) return fail(complaint(wanted));
    const auto value = value_->get<std::uint64_t>();
    if (value < least || value > most) return fail(complaint(wanted));
    return value;
}

result<std::string> json_node::text_member(std::string_view key, std::size_t size_max) const {
    TRY(const auto node, member(key));
    return node.text(size_max);
}

result<std::uint64_t> json_node::number_member(std::string_view key, std::uint64_t least, std::uint64_t most) const {
    TRY(const auto node, member(key));
    return node.number(least, most);
}

result<ordered_json> parse_json(std::string_view text, const std::string& file) {
    if (text.size() > config_size_max)
        return fail(errc::too_large, fmt::format("{}: larger than {} bytes", file, config_size_max));
    parse_watch watch;
    try {
        auto document =
            ordered_json::parse(text, [&watch](int depth, ordered_json::parse_event_t event, ordered_json& parsed) {
                return watch(depth, event, parsed);
            });
        if (watch.too_deep()) return fail(errc::bad_format, fmt::format("{}: nested too deeply", file));
        if (!watch.duplicate().empty())
            return fail(errc::bad_format, fmt::format("{}: key {} stands twice", file, watch.duplicate().substr(1)));
        return document;
    } catch (const ordered_json::parse_error& e) {
        return fail(errc::bad_format, fmt::format("{}: {}: not valid JSON", file, position(text, e.byte)));
    } catch (const ordered_json::exception&) {
        // Anything else that the library objects to, such as a number out of every range.
        return fail(errc::bad_format, fmt::format("{}: not valid JSON", file));
    }
}

result<std::string> read_text_file(const std::filesystem::path& file) {
    const descriptor in(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (in.get() < 0) return fail(file_error(file, errno));
    std::string text(config_size_max + 1, '\0');
    std::size_t size = 0;
    while (size < text.size()) {
        const ssize_t got = ::read(in.get(), text.data() + size, text.size() - size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail(file_error(file, errno));
        if (got == 0) break;
        size += static_cast<std::size_t>(got);
    }
    if (size > config_size_max)
        return fail(errc::too_large, fmt::format("{}: larger than {} bytes", file.string(), config_size_max));
    text.resize(size);
    return text;
}

result<void> write_text_file(const std::filesystem::path& file, std::string_view text) {
    const std::filesystem::path parent = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
    const std::filesystem::path fresh = fmt::format("{}.new.{}", file.string(), ::getpid());
    {
        const descriptor out(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
        if (out.get() < 0) return fail(file_error(fresh, errno));
        while (!text.empty()) {
            const ssize_t put = ::write(out.get(), text.data(), text.size());
            if (put < 0 && errno == EINTR) continue;
            if (put < 0) return fail(file_error(fresh, errno));
            text.remove_prefix(static_cast<std::size_t>(put));
        }
        if (::fsync(out.get()) != 0) return fail(file_error(fresh, errno));
    }
    if (::rename(fresh.c_str(), file.c_str()) != 0) return fail(file_error(file, errno));
    const descriptor directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory.get() < 0 || ::fsync(directory.get()) != 0) return fail(file_error(parent, errno));
    return {};
}

}  // namespace warifu
