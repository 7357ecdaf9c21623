#pragma once
// Pad files dropped into a directory by a courier or the dealer. A file counts as delivered once it has its .pad name
// (written beside and renamed); one that is copied there directly is given time to become complete.

#include <deque>
#include <string>

#include "keyd/pad_source.h"

namespace warifu {

class pad_file_source final : public pad_source {
  public:
    explicit pad_file_source(std::string directory) : directory_(std::move(directory)) {}

    /// The next file, ordered by name (so by stream and offset). A file that is no pad file is set aside as
    /// NAME.refused and reported as an error that names it.
    result<std::optional<delivery>> next() override;
    /// Removes the file if it is still there (it was copied, not taken), overwriting it first.
    result<void> consumed(const block_id& id) override;
    /// Sets the last delivery aside as NAME.refused.
    result<void> refused(const block_id& id) override;
    /// Forgets the last delivery: it comes again with the next scan.
    void postpone() override { last_.reset(); }

    const std::string& directory() const { return directory_; }

  private:
    result<void> scan();

    std::string directory_;
    std::deque<std::string> names_;
    std::optional<delivery> last_;
};

}  // namespace warifu
