#pragma once
// Tables of calls: README.md has the language. A table is read whole before anything runs, so that a mistake in it is
// an error of the table and never looks like one of the file system.

#include <string>
#include <vector>

#include "fs/base/error.h"

namespace warifu::posix {

struct table_line {
    int number = 0;                     // in its file
    std::vector<std::string> words;     // the call and its arguments, after expansion of {...}
    std::vector<std::string> expected;  // after "->": error names or numbers, any of which is right; empty: success
    std::string text;                   // as written
};

struct table_case {
    std::string file;                 // of the table, without folder
    int number = 0;                   // line of its heading
    std::string name;                 // "group: what must hold"
    std::vector<std::string> except;  // file systems that are known to deviate, with the reason in the table
    std::vector<table_line> lines;
};

/// Errors: not_found, bad_format with file and line.
result<std::vector<table_case>> read_table(const std::string& path);

/// The number of an error's name ("ENOENT"), 0 when there is none.
int error_number(const std::string& name);
/// The name, or the number in digits.
std::string error_name(int number);

}  // namespace warifu::posix
