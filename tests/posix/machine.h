#pragma once
// Carries out the calls of one case. It belongs to a process of its own: it changes identity, mask and directory.

#include <map>
#include <span>
#include <string>
#include <sys/stat.h>
#include <vector>

#include "tests/posix/table.h"

namespace warifu::posix {

class machine {
  public:
    using arguments = std::span<const std::string>;
    /// What a call did: its value, or minus the error's number; `wrong` when it is an assertion that does not hold.
    struct outcome {
        long value = 0;
        std::string wrong;
    };
    using call = outcome (machine::*)(arguments);
    struct entry {
        call function;
        std::size_t least, most;  // arguments
    };

    /// One line; the empty text when it did what the table says.
    std::string run(const table_line& line);
    /// Whether the table may say this at all; the empty text when it may.
    static std::string check(const table_line& line);

  private:
    static const std::map<std::string, entry>& calls();
    static void add_file_calls(std::map<std::string, entry>& table);
    static void add_name_calls(std::map<std::string, entry>& table);
    static void add_assertions(std::map<std::string, entry>& table);

    // Names and attributes: calls_names.cc.
    outcome create(arguments a);
    outcome mkdir(arguments a);
    outcome mknod(arguments a);
    outcome symlink(arguments a);
    outcome link(arguments a);
    outcome unlink(arguments a);
    outcome rmdir(arguments a);
    outcome rename(arguments a);
    outcome chmod(arguments a);
    outcome chown(arguments a);
    outcome lchown(arguments a);
    outcome utimens(arguments a);
    outcome access(arguments a);
    outcome chdir(arguments a);
    outcome set_umask(arguments a);
    outcome setxattr(arguments a);
    outcome getxattr(arguments a);
    outcome removexattr(arguments a);
    outcome listxattr(arguments a);
    outcome setacl(arguments a);
    outcome as(arguments a);
    // Open files: calls_files.cc.
    outcome open(arguments a);
    outcome close(arguments a);
    outcome read(arguments a);
    outcome write(arguments a);
    outcome truncate(arguments a);
    outcome ftruncate(arguments a);
    outcome fchmod(arguments a);
    outcome fchown(arguments a);
    outcome fallocate(arguments a);
    outcome lseek(arguments a);
    outcome copy(arguments a);
    outcome fsync(arguments a);
    outcome lock(arguments a);
    outcome stat(arguments a);
    outcome mark(arguments a);
    outcome times(arguments a);
    outcome same(arguments a);
    outcome readlink(arguments a);
    outcome list(arguments a);
    outcome content(arguments a);
    outcome acl(arguments a);

    std::map<std::string, int> files_;          // by the table's name for them
    std::map<std::string, struct stat> marks_;  // by path
};

// What both files of calls need.
inline machine::outcome returned(long value, int error) {
    return {value < 0 ? -static_cast<long>(error) : value, {}};
}
unsigned octal(const std::string& text);
long number(const std::string& text);  // with K, M, G, T

}  // namespace warifu::posix
