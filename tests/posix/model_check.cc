// model_check DIRECTORY [--reference DIRECTORY] [--seed N] [--operations N] [--remount COMMAND] [--every N]: random
// operations on a directory and on a reference (a temporary one on the local disk), compared step by step. README.md.
// Exit code 0: equal; 1: a difference, with the seed and the last operations; 2: wrong use.

#include <chrono>
#include <deque>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/posix/two_trees.h"

namespace warifu::posix {
namespace {

namespace path_fs = std::filesystem;

struct wanted {
    path_fs::path directory, reference;
    std::uint64_t seed = 1, operations = 4000, every = 1000;
    std::string remount;
};

constexpr std::size_t history_size = 400;

/// Runs with one seed; says what differed.
bool run(const wanted& what) {
    const path_fs::path tested = what.directory / fmt::format("model.{}", ::getpid());
    path_fs::create_directory(tested);
    std::deque<std::string> history;
    std::uint64_t done = 0;
    const auto begun = std::chrono::steady_clock::now();
    bool equal = true;
    try {
        two_trees trees(tested.string(), what.reference.string(), what.seed);
        for (; done < what.operations; ++done) {
            history.push_back(trees.step());
            if (history.size() > history_size) history.pop_front();
            if ((done + 1) % what.every != 0) continue;
            trees.compare_all();
            if (what.remount.empty()) continue;
            trees.close_all();
            if (const int code = std::system(what.remount.c_str()); code != 0)
                throw different{fmt::format("the remount command ended with {}", code)};
            trees.compare_all();
        }
        trees.close_all();
        trees.compare_all();
    } catch (const different& why) {
        for (const auto& line : history) fmt::print("  {}\n", line);
        fmt::print("seed {}, operation {}: {}\n", what.seed, done, why.what);
        equal = false;
    }
    const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    fmt::print("model_check: seed {}, {} operations in {:.1f} s, {}\n", what.seed, done, seconds,
               equal ? "equal" : "DIFFERENT");
    if (equal) path_fs::remove_all(tested);  // else it stays, to be looked at
    return equal;
}

int run_in_own_reference(wanted what) {
    std::string made;
    if (what.reference.empty()) {
        made = (path_fs::temp_directory_path() / "warifu_model_XXXXXX").string();
        if (::mkdtemp(made.data()) == nullptr) return 2;
        what.reference = made;
    }
    const bool equal = run(what);
    if (!made.empty() && equal) path_fs::remove_all(made);
    return equal ? 0 : 1;
}

}  // namespace
}  // namespace warifu::posix

int main(int argc, char** argv) {
    warifu::posix::wanted what;
    bool usage = argc < 2;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        const auto value = [&] { return i + 1 < argc ? std::string(argv[++i]) : std::string(); };
        if (word == "--reference")
            what.reference = value();
        else if (word == "--seed")
            what.seed = std::strtoull(value().c_str(), nullptr, 10);
        else if (word == "--operations")
            what.operations = std::strtoull(value().c_str(), nullptr, 10);
        else if (word == "--every")
            what.every = std::max(1ULL, std::strtoull(value().c_str(), nullptr, 10));
        else if (word == "--remount")
            what.remount = value();
        else if (word.starts_with("-"))
            usage = true;
        else
            what.directory = word;
    }
    if (usage || what.directory.empty()) {
        fmt::print(stderr,
                   "usage: model_check DIRECTORY [--reference DIRECTORY] [--seed N] [--operations N] "
                   "[--remount COMMAND] [--every N]\n");
        return 2;
    }
    ::umask(022);
    return warifu::posix::run_in_own_reference(what);
}
