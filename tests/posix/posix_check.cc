// posix_check DIRECTORY [--tables FOLDER] [--only TEXT] [--entries N] [--list]: what POSIX and Linux promise of calls,
// checked in DIRECTORY, which may be on any file system. README.md beside it. Exit code 0: every promise holds or is
// listed as a deviation of this kind of file system; 1: some do not; 2: wrong use.

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/posix/machine.h"
#include "tests/posix/programs.h"

namespace warifu::posix {
namespace {

namespace path_fs = std::filesystem;

struct wanted {
    path_fs::path directory;
    path_fs::path tables = WARIFU_POSIX_TABLES;
    std::string only;
    int entries = 100'000;
    bool list = false;
};

std::string kind_of(const path_fs::path& directory) {
    struct statfs at{};
    if (::statfs(directory.c_str(), &at) != 0) return "?";
    switch (static_cast<unsigned long>(at.f_type)) {
        case 0xEF53:
            return "ext4";
        case 0x01021994:
            return "tmpfs";
        case 0x65735546:
            return "fuse";
        case 0x794c7630:
            return "overlay";
        case 0x58465342:
            return "xfs";
        case 0x9123683E:
            return "btrfs";
        default:
            return fmt::format("{:x}", static_cast<unsigned long>(at.f_type));
    }
}

/// One case in a process of its own: what it does to its identity, limits and locks ends with it.
bool holds(const path_fs::path& place, const std::function<bool()>& work) {
    path_fs::create_directory(place);
    path_fs::permissions(place, path_fs::perms(0755));
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
        ::umask(022);
        ::signal(SIGALRM, SIG_DFL);
        ::alarm(300);  // a call that hangs is a broken promise, too
        if (::chdir(place.c_str()) != 0) ::_exit(3);
        const bool fine = work();
        std::fflush(nullptr);
        ::_exit(fine ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFEXITED(status)) fmt::print("    ended by signal {}\n", WTERMSIG(status));
    std::error_code ignored;
    path_fs::remove_all(place, ignored);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool run_table_case(const table_case& one) {
    machine m;
    bool fine = true;
    for (const auto& line : one.lines) {
        const std::string wrong = m.run(line);
        if (wrong.empty()) continue;
        fmt::print("    {}:{}: {}: {}\n", one.file, line.number, line.text, wrong);
        fine = false;
    }
    return fine;
}

bool run_program(const program& one) {
    try {
        one.run();
        return true;
    } catch (const broken& why) {
        fmt::print("    {}\n", why.what);
        return false;
    }
}

/// Counts, and says what deviates.
class summary {
  public:
    explicit summary(std::string kind) : kind_(std::move(kind)) {}
    void add(const std::string& name, bool fine, const std::vector<std::string>& except) {
        const bool listed = std::ranges::find(except, kind_) != except.end();
        ++cases_;
        if (fine) return;
        fmt::print("{}: {}\n", listed ? "listed deviation" : "DEVIATION", name);
        ++(listed ? listed_ : deviations_);
    }
    int finish() const {
        fmt::print("posix_check on {}: {} cases, {} deviations, {} listed deviations\n", kind_, cases_, deviations_,
                   listed_);
        return deviations_ == 0 ? 0 : 1;
    }

  private:
    std::string kind_;
    int cases_ = 0, deviations_ = 0, listed_ = 0;
};

result<std::vector<table_case>> read_tables(const path_fs::path& folder) {
    std::vector<path_fs::path> files;
    std::error_code ec;
    for (const auto& entry : path_fs::directory_iterator(folder, ec))
        if (entry.path().extension() == ".table") files.push_back(entry.path());
    if (files.empty()) return fail(errc::not_found, fmt::format("{}: no tables here", folder.string()));
    std::ranges::sort(files);
    std::vector<table_case> all;
    for (const auto& file : files) {
        TRY(auto cases, read_table(file.string()));
        for (auto& one : cases) {
            for (const auto& line : one.lines)
                if (const auto wrong = machine::check(line); !wrong.empty())
                    return fail(errc::bad_format, fmt::format("{}:{}: {}", file.string(), line.number, wrong));
            all.push_back(std::move(one));
        }
    }
    return all;
}

int run(const wanted& what) {
    const auto cases = read_tables(what.tables);
    if (!cases) {
        fmt::print(stderr, "posix_check: {}\n", cases.error().text);
        return 2;
    }
    const auto asked = [&what](const std::string& name) { return name.find(what.only) != std::string::npos; };
    const auto programs = all_programs(what.entries);
    if (what.list) {
        for (const auto& one : *cases) fmt::print("{}\n", one.name);
        for (const auto& one : programs) fmt::print("{}\n", one.name);
        return 0;
    }
    const path_fs::path base = what.directory / fmt::format("posix_check.{}", ::getpid());
    std::error_code ec;
    if (!path_fs::create_directory(base, ec)) {
        fmt::print(stderr, "posix_check: {}: {}\n", base.string(), ec.message());
        return 2;
    }
    summary counts(kind_of(base));
    int number = 0;
    for (const auto& one : *cases)
        if (asked(one.name))
            counts.add(one.name, holds(base / std::to_string(++number), [&] { return run_table_case(one); }),
                       one.except);
    for (const auto& one : programs)
        if (asked(one.name))
            counts.add(one.name, holds(base / std::to_string(++number), [&] { return run_program(one); }), one.except);
    path_fs::remove_all(base, ec);
    return counts.finish();
}

}  // namespace

void expect(bool holds, const std::string& what) {
    if (!holds) throw broken{what};
}
long succeeds(long value, const std::string& what) {
    if (value < 0) throw broken{fmt::format("{}: {}", what, std::strerror(errno))};
    return value;
}
int open_file(const char* path, int flags) {
    return static_cast<int>(succeeds(::open(path, flags | O_CLOEXEC, 0644), path));
}
void fails_with(long value, int error, const std::string& what) {
    if (value >= 0) throw broken{fmt::format("{}: succeeded, not {}", what, error_name(error))};
    if (errno != error) throw broken{fmt::format("{}: {}, not {}", what, error_name(errno), error_name(error))};
}

std::vector<program> all_programs(int entries) {
    std::vector<program> all;
    add_process_programs(all);
    add_mapping_programs(all);
    add_size_programs(all, entries);
    return all;
}

}  // namespace warifu::posix

int main(int argc, char** argv) {
    using warifu::posix::wanted;
    wanted what;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        const auto value = [&] { return i + 1 < argc ? std::string(argv[++i]) : std::string(); };
        if (word == "--tables")
            what.tables = value();
        else if (word == "--only")
            what.only = value();
        else if (word == "--entries")
            what.entries = std::max(1, std::atoi(value().c_str()));
        else if (word == "--list")
            what.list = true;
        else
            what.directory = word;
    }
    if (what.directory.empty() && !what.list) {
        fmt::print(stderr, "usage: posix_check DIRECTORY [--tables FOLDER] [--only TEXT] [--entries N] [--list]\n");
        return 2;
    }
    if (::geteuid() != 0 && !what.list) {
        fmt::print("SKIP: the tables speak of several users: they need root\n");
        return 77;
    }
    return warifu::posix::run(what);
}
