#pragma once
// Progress of work that takes longer than two seconds: a bar with rate and time left on a terminal, a plain line now
// and then elsewhere.

#include <cstdint>
#include <string>

#include "fs/base/clock.h"

namespace warifu {

/// Written to standard error. One thread.
class progress {
  public:
    enum class style : std::uint8_t { automatic, silent };

    /// `total` in bytes; 0 when it is not known.
    progress(std::string label, std::uint64_t total, style how = style::automatic);
    progress(const progress&) = delete;
    progress& operator=(const progress&) = delete;
    ~progress();

    void update(std::uint64_t done, std::string_view note = {});
    void set_total(std::uint64_t total) { total_ = total; }
    /// Ends the bar's line.
    void finish();

    /// The line that update() would draw, for `elapsed` seconds.
    static std::string line(const std::string& label, std::uint64_t done, std::uint64_t total, double elapsed,
                            std::string_view note);

  private:
    std::string label_;
    std::uint64_t total_;
    bool silent_, terminal_, drawn_ = false;
    steady_clock::time_point start_, last_;
};

}  // namespace warifu
