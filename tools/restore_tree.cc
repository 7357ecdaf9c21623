#include "tools/restore_tree.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <fmt/format.h>
#include <set>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <thread>
#include <unistd.h>

#include "fs/async/wait.h"

namespace warifu {
namespace {

constexpr std::size_t list_count = 1024;
constexpr std::size_t reads_in_flight_max = 64;
constexpr std::size_t bytes_in_flight_max = 64U << 20U;
constexpr std::uint64_t extent_step_size = 64U << 20U;  // of a file, looked up at once
constexpr std::size_t unflushed_files_max = 10'000;
constexpr std::uint64_t unflushed_bytes_max = 512U << 20U;
constexpr std::uint32_t flush_interval_ms = 30'000;

bool is_type(const inode& node, mode_t type) {
    return (node.mode & S_IFMT) == type;
}

/// Names come out of verified metadata; one that would leave its directory is still never used.
bool is_plain_name(const std::string& name) {
    return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
           name.find('\0') == std::string::npos;
}

std::unexpected<error> fail_here(std::string_view what) {
    const int number = errno;
    const errc code = number == ENOSPC || number == EDQUOT  ? errc::no_space
                      : number == EACCES || number == EPERM ? errc::access_denied
                                                            : errc::io_error;
    return fail(code, fmt::format("cannot {} in the destination: {}", what, std::strerror(number)));
}

/// A file that is being written: finished (attributes, times, close) when the last piece has arrived.
struct open_file {
    explicit open_file(int descriptor) : fd(descriptor) {}
    open_file(const open_file&) = delete;
    open_file& operator=(const open_file&) = delete;
    ~open_file() { ::close(fd); }
    int fd;
    std::string path;  // below the destination
    inode node;
    std::size_t outstanding = 0;
    bool all_asked = false;
};

struct pending_read {
    std::shared_ptr<open_file> file;
    std::uint64_t file_offset = 0;
    std::uint32_t size = 0;
    std::future<result<slice>> bytes;
};

/// Calls `visit(name, inode)` for each selected entry of a directory.
template <typename Visit>
result<void> for_each_entry(volume& source, inode_number directory, const tree_selection& selection, Visit visit) {
    auto& names = source.names();
    if (!selection.whole) {
        for (const auto& [name, below] : selection.children) {
            const auto node = names.lookup(directory, name);
            if (!node && node.error().code == errc::not_found)
                return fail(errc::not_found, "a path to restore does not exist in the volume");
            if (!node) return fail(node.error());
            TRY_VOID(visit(name, *node, below));
        }
        return {};
    }
    static const tree_selection everything;
    std::uint64_t cookie = 0;
    while (true) {
        TRY(const auto entries, names.list(directory, cookie, list_count));
        if (entries.empty()) return {};
        for (const auto& entry : entries) {
            TRY(const auto node, names.get(entry.number));
            TRY_VOID(visit(entry.name, node, everything));
        }
        cookie = entries.back().cookie;
    }
}

class tree_meter {
  public:
    explicit tree_meter(volume& source) : source_(source) {}
    result<void> walk(inode_number directory, const tree_selection& selection) {
        return for_each_entry(source_, directory, selection,
                              [this](const std::string&, const inode& node,
                                     const tree_selection& below) -> result<void> { return add(node, below); });
    }
    const tree_totals& totals() const { return totals_; }

  private:
    result<void> add(const inode& node, const tree_selection& below) {
        if (is_type(node, S_IFDIR)) {
            ++totals_.directories;
            return walk(node.number, below);
        }
        if (!below.whole)
            return fail(errc::not_directory, "a path to restore leads through something that is no directory");
        if (node.link_count > 1 && !linked_.insert(node.number).second) {
            ++totals_.hard_links;
        } else if (is_type(node, S_IFREG)) {
            ++totals_.files;
            totals_.bytes += node.stored_size;
        } else {
            ++(is_type(node, S_IFLNK) ? totals_.symlinks : totals_.special_files);
        }
        return {};
    }

    volume& source_;
    std::set<inode_number> linked_;
    tree_totals totals_;
};

class tree_restorer {
  public:
    tree_restorer(asio::io_context& core, volume& source, int root, const restore_options& options)
        : core_(core), source_(source), root_(root), options_(options) {
        // A slow restore does not ask for what it cannot take soon.
        if (options.rate_max != 0)
            bytes_in_flight_ = std::clamp<std::uint64_t>(options.rate_max / 4, 1, bytes_in_flight_max);
    }

    result<tree_outcome> run(const tree_selection& selection) {
        auto outcome = directory(root_inode, root_, "", selection);
        // Reads that are still under way refer to this object's files only; they are waited for in any case.
        while (!reads_.empty()) {
            if (outcome)
                outcome = take_one();
            else
                drop_one();
        }
        if (!outcome) return fail(std::move(outcome).error());
        TRY_VOID(flush());
        TRY(const auto top, source_.names().get(root_inode));
        set_attributes(root_, top);
        set_times(root_, top);
        if (::syncfs(root_) != 0) return fail_here("make files durable");
        return outcome_;
    }

  private:
    result<void> directory(inode_number number, int fd, const std::string& path, const tree_selection& selection) {
        return for_each_entry(
            source_, number, selection,
            [this, fd, &path](const std::string& name, const inode& node, const tree_selection& below) -> result<void> {
                if (!is_plain_name(name)) return fail(errc::bad_format, "a directory entry has an impossible name");
                return entry(fd, path.empty() ? name : path + "/" + name, name, node, below);
            });
    }

    result<void> entry(int parent, const std::string& path, const std::string& name, const inode& node,
                       const tree_selection& below) {
        if (is_type(node, S_IFDIR)) return subdirectory(parent, path, name, node, below);
        if (node.link_count > 1) {
            const auto [first, fresh] = linked_.try_emplace(node.number, path);
            if (!fresh) {
                TRY_VOID(make_way(parent, name));
                if (::linkat(root_, first->second.c_str(), parent, name.c_str(), 0) != 0)
                    return fail_here("make a hard link");
                ++outcome_.done.hard_links;
                return {};
            }
        }
        if (is_type(node, S_IFREG)) return regular(parent, path, name, node);
        TRY_VOID(make_way(parent, name));
        if (is_type(node, S_IFLNK)) return symbolic(parent, name, node);
        return special(parent, name, node);
    }

    /// What an interrupted restore left under this name goes.
    result<void> make_way(int parent, const std::string& name) {
        if (!options_.resume || ::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return {};
        return fail_here("replace what an earlier restore left");
    }

    bool is_complete(int parent, const std::string& name, const inode& node) const {
        struct stat there{};
        if (!options_.resume || ::fstatat(parent, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0) return false;
        const auto time = times_of(node)[1];
        return S_ISREG(there.st_mode) && static_cast<std::uint64_t>(there.st_size) == node.size &&
               there.st_mtim.tv_sec == time.tv_sec && there.st_mtim.tv_nsec == time.tv_nsec;
    }

    result<void> subdirectory(int parent, const std::string& path, const std::string& name, const inode& node,
                              const tree_selection& below) {
        if (::mkdirat(parent, name.c_str(), 0700) != 0 && !(options_.resume && errno == EEXIST))
            return fail_here("make a directory");
        const int fd = ::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) return fail_here("open a directory");
        auto inside = directory(node.number, fd, path, below);
        // Content of files below may still arrive: that does not touch this directory any more.
        if (inside) set_attributes(fd, node);
        if (inside) set_times(fd, node);
        ::close(fd);
        ++outcome_.done.directories;
        return inside;
    }

    result<void> regular(int parent, const std::string& path, const std::string& name, const inode& node) {
        if (is_complete(parent, name, node)) {
            ++outcome_.done.files;
            ++outcome_.done.kept;
            kept_bytes_ += node.stored_size;
            return {};
        }
        TRY_VOID(make_way(parent, name));
        const int fd = ::openat(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0) return fail_here("make a file");
        const auto file = std::make_shared<open_file>(fd);
        file->path = path;
        file->node = node;
        if (::ftruncate(fd, static_cast<off_t>(node.size)) != 0) return fail_here("set a file's size");
        for (std::uint64_t at = 0; at < node.size; at += extent_step_size) {
            const std::uint64_t size = std::min(extent_step_size, node.size - at);
            TRY(const auto extents, source_.names().extents(node.number, at, size));
            for (const auto& run : extents) TRY_VOID(ask(file, run, at, at + size));
        }
        file->all_asked = true;
        ++outcome_.done.files;
        return finish_when_complete(*file);
    }

    /// Asks for the part of an extent that lies in [from, to), waiting for earlier reads when enough are under way.
    result<void> ask(const std::shared_ptr<open_file>& file, const extent& run, std::uint64_t from, std::uint64_t to) {
        const std::uint64_t begin = std::max(from, run.file_offset);
        const std::uint64_t end = std::min({to, run.end(), file->node.size});
        if (begin >= end) return {};
        const auto size = static_cast<std::uint32_t>(end - begin);
        const auto in_piece = static_cast<std::uint32_t>(run.piece_offset + (begin - run.file_offset));
        while (!reads_.empty() && (reads_.size() >= reads_in_flight_max || in_flight_ + size > bytes_in_flight_))
            TRY_VOID(take_one());
        pending_read read;
        read.file = file;
        read.file_offset = begin;
        read.size = size;
        read.bytes = asio::co_spawn(core_, source_.read(run, in_piece, size), asio::use_future);
        reads_.push_back(std::move(read));
        ++file->outstanding;
        in_flight_ += size;
        return {};
    }

    result<void> take_one() {
        pending_read read = std::move(reads_.front());
        reads_.pop_front();
        in_flight_ -= read.size;
        --read.file->outstanding;
        TRY(const auto arrived, read.bytes.get());
        const bytes_view bytes = arrived.view();
        if (bytes.size() != read.size) return fail(errc::io_error, "a read of the volume came back short");
        std::size_t done = 0;
        while (done < bytes.size()) {
            const ssize_t put = ::pwrite(read.file->fd, bytes.data() + done, bytes.size() - done,
                                         static_cast<off_t>(read.file_offset + done));
            if (put < 0 && errno == EINTR) continue;
            if (put < 0) return fail_here("write a file");
            done += static_cast<std::size_t>(put);
        }
        outcome_.done.bytes += bytes.size();
        if (options_.moved) options_.moved(kept_bytes_ + outcome_.done.bytes);
        unflushed_bytes_ += bytes.size();
        TRY_VOID(finish_when_complete(*read.file));
        if (options_.rate_max != 0) {
            const auto due = static_cast<double>(outcome_.done.bytes) / static_cast<double>(options_.rate_max);
            std::this_thread::sleep_until(begun_ + std::chrono::duration_cast<std::chrono::nanoseconds>(
                                                       std::chrono::duration<double>(due)));
        }
        return {};
    }

    void drop_one() {
        reads_.front().bytes.wait();
        reads_.pop_front();
    }

    result<void> finish_when_complete(const open_file& file) {
        if (!file.all_asked || file.outstanding != 0) return {};
        set_attributes(file.fd, file.node);
        if (file.path.size() >= PATH_MAX)
            set_times(file.fd, file.node);
        else
            unflushed_.emplace_back(file.path, file.node);
        const bool due = unflushed_.size() >= unflushed_files_max || unflushed_bytes_ >= unflushed_bytes_max ||
                         steady_clock::now() >= flush_at_;
        return due ? flush() : result<void>{};
    }

    /// Makes the complete files durable, and only then says so by their times.
    result<void> flush() {
        if (::syncfs(root_) != 0) return fail_here("make files durable");
        for (const auto& [path, node] : unflushed_) set_times_at(root_, path, node);
        unflushed_.clear();
        unflushed_bytes_ = 0;
        flush_at_ = deadline_in_ms(flush_interval_ms);
        return {};
    }

    result<void> symbolic(int parent, const std::string& name, const inode& node) {
        TRY(const auto target, source_.names().read_link(node.number));
        if (::symlinkat(target.c_str(), parent, name.c_str()) != 0) return fail_here("make a symbolic link");
        ++outcome_.done.symlinks;
        set_attributes_at(parent, name, node);
        set_times_at(parent, name, node);
        return {};
    }

    result<void> special(int parent, const std::string& name, const inode& node) {
        if (::mknodat(parent, name.c_str(), node.mode, static_cast<dev_t>(node.device)) != 0) {
            refused("a special file");
            return {};
        }
        ++outcome_.done.special_files;
        set_attributes_at(parent, name, node);
        set_times_at(parent, name, node);
        return {};
    }

    /// Owner first (it clears set-uid), then attributes (they need write permission), mode.
    void set_attributes(int fd, const inode& node) {
        if (::fchown(fd, node.uid, node.gid) != 0) refused("an owner");
        for_each_attribute(node, [&](const std::string& name, const std::string& value) {
            if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) != 0) refused("an extended attribute");
        });
        if (::fchmod(fd, node.mode & 07777U) != 0) refused("a mode");
    }
    void set_times(int fd, const inode& node) {
        const auto times = times_of(node);
        if (::futimens(fd, times.data()) != 0) refused("a time");
    }
    void set_times_at(int parent, const std::string& path, const inode& node) {
        const auto times = times_of(node);
        if (::utimensat(parent, path.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) != 0) refused("a time");
    }

    void set_attributes_at(int parent, const std::string& name, const inode& node) {
        if (::fchownat(parent, name.c_str(), node.uid, node.gid, AT_SYMLINK_NOFOLLOW) != 0) refused("an owner");
        const std::string path = fmt::format("/proc/self/fd/{}/{}", parent, name);
        for_each_attribute(node, [&](const std::string& attribute, const std::string& value) {
            if (::lsetxattr(path.c_str(), attribute.c_str(), value.data(), value.size(), 0) != 0)
                refused("an extended attribute");
        });
        if (!is_type(node, S_IFLNK) && ::fchmodat(parent, name.c_str(), node.mode & 07777U, 0) != 0) refused("a mode");
    }

    template <typename Set>
    void for_each_attribute(const inode& node, Set set) {
        const auto names = source_.names().list_attributes(node.number);
        if (!names) return refused("extended attributes");
        for (const auto& name : *names) {
            const auto value = source_.names().get_attribute(node.number, name);
            if (value)
                set(name, *value);
            else
                refused("an extended attribute");
        }
    }

    static std::array<timespec, 2> times_of(const inode& node) {
        const auto spec = [](const time_stamp& t) {
            timespec out{};
            out.tv_sec = t.seconds;
            out.tv_nsec = static_cast<long>(t.nanoseconds);
            return out;
        };
        return {spec(node.access_time), spec(node.modify_time)};
    }

    void refused(std::string_view what) {
        if (outcome_.incomplete++ == 0)
            outcome_.first_refusal = fmt::format("{} could not be set: {}", what, std::strerror(errno));
    }

    asio::io_context& core_;
    volume& source_;
    int root_;
    const restore_options& options_;
    const steady_clock::time_point begun_ = steady_clock::now();
    std::map<inode_number, std::string> linked_;  // first path of files with several names
    std::deque<pending_read> reads_;              // in the order they were asked for
    std::size_t in_flight_ = 0;                   // bytes
    std::size_t bytes_in_flight_ = bytes_in_flight_max;
    std::vector<std::pair<std::string, inode>> unflushed_;  // files that are complete but for their times
    std::uint64_t unflushed_bytes_ = 0, kept_bytes_ = 0;
    deadline flush_at_ = deadline_in_ms(flush_interval_ms);
    tree_outcome outcome_;
};

}  // namespace

result<tree_selection> tree_selection::from_paths(const std::vector<std::string>& paths) {
    tree_selection all;
    if (paths.empty()) return all;
    all.whole = false;
    for (const auto& path : paths) {
        tree_selection* at = &all;
        std::size_t begin = 0;
        while (begin <= path.size() && !at->whole) {
            const std::size_t end = std::min(path.find('/', begin), path.size());
            const std::string part = path.substr(begin, end - begin);
            begin = end + 1;
            if (part.empty() || part == ".") continue;
            if (part == "..")
                return fail(errc::bad_argument, "paths to restore are relative to the volume's root, without '..'");
            const auto [child, fresh] = at->children.try_emplace(part);
            if (fresh) child->second.whole = false;
            at = &child->second;
        }
        at->whole = true;
        at->children.clear();
    }
    return all;
}

result<tree_totals> measure_tree(volume& source, const tree_selection& selection) {
    tree_meter meter(source);
    TRY_VOID(meter.walk(root_inode, selection));
    return meter.totals();
}

result<tree_outcome> restore_tree(asio::io_context& core, volume& source, const tree_selection& selection,
                                  const std::string& destination, const restore_options& options) {
    const int root = ::open(destination.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) return fail(errc::io_error, fmt::format("{}: {}", destination, std::strerror(errno)));
    tree_restorer restorer(core, source, root, options);
    auto outcome = restorer.run(selection);
    ::close(root);
    return outcome;
}

}  // namespace warifu
