#include "keyd/daemon/pad_file_source.h"

#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <vector>

#include "fs/base/clock.h"
#include "keyd/pool/pad_file.h"

namespace warifu {
namespace {

constexpr std::int64_t settle_ns = 5'000'000'000;  // a file that changed this lately may still be growing
constexpr std::size_t scan_count_max = 100'000;

bool changed_lately(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return false;
    const std::int64_t changed = status.st_mtim.tv_sec * 1'000'000'000LL + status.st_mtim.tv_nsec;
    return realtime_ns() - changed < settle_ns && realtime_ns() >= changed;
}

}  // namespace

result<void> pad_file_source::scan() {
    std::vector<std::string> names;
    std::error_code code;
    for (std::filesystem::directory_iterator it(directory_, code), end; !code && it != end; it.increment(code)) {
        auto name = it->path().filename().string();
        if (name.ends_with(pad_file_suffix) && !name.starts_with('.') && names.size() < scan_count_max)
            names.push_back(std::move(name));
    }
    if (code) return fail(errc::io_error, "cannot list " + directory_ + ": " + code.message());
    std::ranges::sort(names);
    names_.assign(names.begin(), names.end());
    return {};
}

result<std::optional<pad_source::delivery>> pad_file_source::next() {
    if (names_.empty()) TRY_VOID(scan());
    while (!names_.empty()) {
        const std::string path = directory_ + "/" + names_.front();
        names_.pop_front();
        const auto header = read_pad_header(path);
        if (header) {
            last_ = delivery{header->block, path, pad_header_size, true};
            return last_;
        }
        if (header.error().code == errc::not_found) continue;
        if (header.error().code == errc::bad_format && changed_lately(path)) continue;
        TRY_VOID(rename_file(path, path + ".refused"));
        return fail(header.error());
    }
    return std::optional<delivery>();
}

result<void> pad_file_source::consumed(const block_id& id) {
    if (!last_ || last_->header.id != id) return fail(errc::not_found, "not the last delivery");
    const std::string path = last_->path;
    last_.reset();
    auto fd = open_file(path, O_RDWR | O_NOFOLLOW);
    if (!fd) return fd.error().code == errc::not_found ? result<void>{} : fail(fd.error());
    TRY(const auto size, file_size(fd->get(), path));
    TRY_VOID(erase_range(fd->get(), 0, size, path));
    return remove_file(path);
}

result<void> pad_file_source::refused(const block_id& id) {
    if (!last_ || last_->header.id != id) return fail(errc::not_found, "not the last delivery");
    const std::string path = last_->path;
    last_.reset();
    return rename_file(path, path + ".refused");
}

}  // namespace warifu
