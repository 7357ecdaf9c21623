#include "tools/progress.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <unistd.h>

#include "tools/text.h"

namespace warifu {
namespace {

constexpr auto first_after = std::chrono::seconds(2);
constexpr auto terminal_interval = std::chrono::milliseconds(100);
constexpr auto plain_interval = std::chrono::seconds(10);

}  // namespace

progress::progress(std::string label, std::uint64_t total, style how)
    : label_(std::move(label)),
      total_(total),
      silent_(how == style::silent),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(steady_clock::now()),
      last_(start_) {}

progress::~progress() {
    finish();
}

std::string progress::line(const std::string& label, std::uint64_t done, std::uint64_t total, double elapsed,
                           std::string_view note) {
    const double rate = elapsed > 0 ? static_cast<double>(done) / elapsed : 0;
    std::string text = label + " ";
    if (total > 0) {
        const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
        constexpr std::size_t width = 24;
        const auto filled = static_cast<std::size_t>(part * width);
        text += fmt::format("[{}{}] {:3.0f} %  {} of {}", std::string(filled, '#'), std::string(width - filled, '.'),
                            part * 100, size_text(done), size_text(total));
    } else {
        text += size_text(done);
    }
    text += fmt::format("  {}", rate_text(rate));
    if (total > done && rate > 0)
        text += fmt::format("  {} left", duration_text(static_cast<double>(total - done) / rate));
    if (!note.empty()) text += fmt::format("  {}", note);
    return text;
}

void progress::update(std::uint64_t done, std::string_view note) {
    if (silent_) return;
    const auto now = steady_clock::now();
    if (now - start_ < first_after) return;
    const auto interval =
        terminal_ ? steady_clock::duration(terminal_interval) : steady_clock::duration(plain_interval);
    if (drawn_ && now - last_ < interval) return;
    last_ = now;
    drawn_ = true;
    const std::string text = line(label_, done, total_, std::chrono::duration<double>(now - start_).count(), note);
    fmt::print(stderr, "{}", terminal_ ? "\r\x1b[K" + text : text + "\n");
    std::fflush(stderr);
}

void progress::finish() {
    if (drawn_ && terminal_ && !silent_) fmt::print(stderr, "\r\x1b[K");
    drawn_ = false;
}

}  // namespace warifu
