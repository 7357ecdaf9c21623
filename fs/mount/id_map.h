#pragma once
// Users and groups of a volume under other numbers on this machine: `-o uidmap=STORED:LOCAL:COUNT`, several times. An
// empty map changes nothing. With a map, numbers outside of it are shown as `id_unmapped` and cannot be given to files.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "fs/base/error.h"

namespace warifu {

inline constexpr std::uint32_t id_unmapped = 65534;     // nobody, nogroup
inline constexpr std::size_t id_range_count_max = 340;  // as in a user name space

class id_map {
  public:
    /// "STORED:LOCAL:COUNT": COUNT numbers from STORED on are LOCAL and so on. bad_argument: not three numbers, an
    /// empty range, a range that meets another one on either side, too many.
    result<void> add(std::string_view text);
    bool empty() const { return ranges_.empty(); }
    /// What is shown for a stored number.
    std::uint32_t to_local(std::uint32_t stored) const;
    /// What is stored for a local number; nothing when it has no place in the volume.
    std::optional<std::uint32_t> to_stored(std::uint32_t local) const;

  private:
    struct range {
        std::uint32_t stored, local, count;
    };
    std::vector<range> ranges_;
};

}  // namespace warifu
