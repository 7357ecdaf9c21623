#pragma once
// The same operation on two directories at once: the one that is tested and a reference on a local disk. Outcomes,
// errors, bytes and attributes must be equal; `different` says where they are not.

#include <array>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace warifu::posix {

/// What the two did differently.
struct different {
    std::string what;
};

class two_trees {
  public:
    two_trees(std::string tested, std::string reference, std::uint64_t seed);
    ~two_trees() { close_all(); }
    two_trees(const two_trees&) = delete;
    two_trees& operator=(const two_trees&) = delete;

    /// One random operation on both. Returns what it was, for the log.
    const std::string& step();
    /// Names, attributes, extended attributes and contents of everything.
    void compare_all();
    /// Before the tested directory goes away for a while.
    void close_all();

  private:
    struct open_pair {
        std::array<int, 2> fds;
        std::string path;
    };
    using call = std::function<long(std::size_t side)>;

    // Random choices: a few names, so that operations meet.
    std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
    std::string some_directory();
    std::string some_path();
    std::string at(std::size_t side, const std::string& path) const { return roots_[side] + path; }

    /// The values or errors must be equal; returns them.
    long both(std::string what, const call& work);
    void both_names(std::uint64_t which);
    void both_links(std::uint64_t which);
    void both_attributes(std::uint64_t which);
    void both_xattrs(std::uint64_t which);
    void open_some();
    void close_one(std::size_t which);
    void both_files(std::uint64_t which, open_pair& file);
    void both_ranges(std::uint64_t which, open_pair& file);
    void write_mapped(open_pair& file, std::int64_t offset, const std::string& text);
    void write_direct(open_pair& file, std::int64_t offset, std::size_t size, char fill);
    void compare_bytes(open_pair& file, std::int64_t offset, std::size_t size);
    void compare_status(const std::string& path);
    void compare_listing(const std::string& path, std::vector<std::string>* directories);

    std::array<std::string, 2> roots_;
    std::mt19937_64 random_;
    std::vector<open_pair> files_;
    std::string last_;
};

}  // namespace warifu::posix
