#pragma once
// The continuous health tests of NIST SP 800-90B section 4.4 on a source of random bytes: each sample is one byte with
// at least H bits of min-entropy, H claimed by whoever configured the source. A good source fails one of them with
// probability alpha = 2^-30 per test (Table: a run, or a window). Pure memory.
//
//   repetition count test (4.4.1)     cutoff C = 1 + ceil(30 / H): C equal bytes in a row fail
//   adaptive proportion test (4.4.2)  window W = 512; C = 1 + critbinom(W, 2^-H, 1 - alpha): a window whose first byte
//                                     occurs C times in it fails

#include <cstdint>
#include <string_view>

#include "fs/base/bytes.h"

namespace warifu {

class health_tests {
  public:
    static constexpr double alpha_log2 = -30;
    static constexpr unsigned window_size = 512;

    /// `min_entropy`: bits per byte, above 0 and at most 8.
    explicit health_tests(double min_entropy)
        : run_cutoff_(run_cutoff(min_entropy)), window_cutoff_(window_cutoff(min_entropy)) {}

    /// False when a test fails; failed() then says which, and all later calls fail too.
    bool feed(bytes_view samples);
    /// "": none.
    std::string_view failed() const { return failed_; }

    static unsigned run_cutoff(double min_entropy);
    static unsigned window_cutoff(double min_entropy);

  private:
    bool feed(std::byte sample);

    unsigned run_cutoff_, window_cutoff_;
    std::byte run_of_{}, window_of_{};
    unsigned run_ = 0;
    unsigned window_at_ = 0;  // samples of the window so far
    unsigned window_count_ = 0;
    std::string_view failed_;
};

}  // namespace warifu
