#pragma once
// Recreates a volume's tree in a directory: content (holes stay holes), modes, owners, nanosecond times, hard links,
// symbolic links, extended attributes, special files. Reads many pieces at once; every byte that is written was
// verified by its tag.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fs/volume/volume.h"

namespace warifu {

/// Which part of the tree: all of it, or some names and what is below them.
struct tree_selection {
    bool whole = true;
    std::map<std::string, tree_selection, std::less<>> children;  // when not whole

    /// From PATHs as a user writes them, relative to the volume's root; all when there are none. bad_argument on "..".
    static result<tree_selection> from_paths(const std::vector<std::string>& paths);
};

struct tree_totals {
    std::uint64_t files = 0, directories = 0, symlinks = 0, hard_links = 0, special_files = 0;
    std::uint64_t bytes = 0;  // of content, holes not counted
    std::uint64_t kept = 0;   // of the files: those that an earlier restore had completed
};

/// Counts what restore_tree() will do. not_found names the first selected path that does not exist.
result<tree_totals> measure_tree(volume& source, const tree_selection& selection);

struct tree_outcome {
    tree_totals done;
    std::uint64_t incomplete = 0;  // attributes, owners or special files that the destination refused
    std::string first_refusal;     // one line about the first of them, without names
};

struct restore_options {
    /// Goes on with a restore that was interrupted: a file with the right size and time is complete, because times are
    /// set only after everything before was flushed. What else is in the way of a name is replaced.
    bool resume = false;
    std::uint64_t rate_max = 0;                 // bytes of content per second; 0: as fast as it goes
    std::function<void(std::uint64_t)> moved;  // gets the bytes so far, now and then
};

/// `destination` is a directory that exists and, unless resumed, is empty. Not on the core thread, which is running
/// `core`. Errors: those of volume::read, and no_space, io_error of the destination.
result<tree_outcome> restore_tree(asio::io_context& core, volume& source, const tree_selection& selection,
                                  const std::string& destination, const restore_options& options);

}  // namespace warifu
