#pragma once
// Cases that a table cannot say: several processes, mappings, directories under change, sizes. Each runs in an empty
// directory (its working directory) in a process of its own.

#include <functional>
#include <string>
#include <vector>

namespace warifu::posix {

struct program {
    std::string name;
    std::vector<std::string> except;  // file systems that are known to deviate
    std::function<void()> run;        // throws broken
};

/// A promise that does not hold.
struct broken {
    std::string what;
};
void expect(bool holds, const std::string& what);
/// `value` is not negative, or errno says why.
long succeeds(long value, const std::string& what);
/// open(2) with O_CLOEXEC and mode 0644; broken when it fails.
int open_file(const char* path, int flags);
/// The call failed with this error.
void fails_with(long value, int error, const std::string& what);

/// `entries`: how many names the large directory gets.
std::vector<program> all_programs(int entries);

// By file.
void add_process_programs(std::vector<program>& all);
void add_mapping_programs(std::vector<program>& all);
void add_size_programs(std::vector<program>& all, int entries);

}  // namespace warifu::posix
