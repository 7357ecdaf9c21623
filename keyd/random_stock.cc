#include "keyd/random_stock.h"

#include <algorithm>

#include "fs/base/assert.h"
#include "fs/base/limits.h"

namespace warifu {
namespace {

/// Gives out what it has, each byte once.
class pool_source final : public random_source {
  public:
    pool_source(buffer bytes, claim strength) : bytes_(std::move(bytes)), strength_(strength) {}
    claim strength() const override { return strength_; }
    result<void> begin_chunk() override { return {}; }
    result<void> fill(bytes_span out) override {
        if (out.size() > bytes_.size() - used_) return fail(errc::no_key, "more random bytes than were taken");
        const bytes_span from = bytes_.span(used_, out.size());
        std::ranges::copy(from, out.begin());
        wipe(from);
        used_ += out.size();
        return {};
    }

  private:
    buffer bytes_;
    std::size_t used_ = 0;
    claim strength_;
};

}  // namespace

random_stock::random_stock(asio::any_io_executor core, std::shared_ptr<pad_broker> keys, random_stock_options options)
    : keys_(std::move(keys)), options_(options), bulk_turn_(core), fetching_(core) {}

task<std::unique_ptr<random_source>> random_stock::take(std::size_t size, key_use use) {
    const auto self = shared_from_this();
    if (use == key_use::control) co_return co_await take_leaving(size, 0);
    const auto turn = co_await bulk_turn_.lock();
    co_return co_await take_leaving(size, options_.control_reserve);
}

task<std::unique_ptr<random_source>> random_stock::take_leaving(std::size_t size, std::size_t kept) {
    while (left_ < size + kept) CO_TRY_VOID(co_await fetch(size + kept));
    co_return std::make_unique<pool_source>(cut(size), strength());
}

/// One more delivery from keyd, unless another caller brought enough meanwhile: a large one if the pool has that much,
/// else a small one as soon as it comes.
task<> random_stock::fetch(std::size_t wanted) {
    const auto turn = co_await fetching_.lock();
    if (left_ >= wanted) co_return result<void>{};
    const std::size_t lacking = std::min(wanted - left_, pad_window_size_max);
    auto got = co_await keys_->take_random(std::max(options_.fetch_size, lacking), deadline_in_ms(0));
    if (!got && got.error().code == errc::no_key)
        got = co_await keys_->take_random(std::min(options_.small_fetch_size, lacking),
                                          deadline_in_ms(options_.wait_ms));
    if (!got) co_return fail(got.error().code, "random numbers: " + got.error().text);
    parts_.push_back(buffer::copy_of(*got));
    wipe(*got);
    left_ += parts_.back().size();
    co_return result<void>{};
}

buffer random_stock::cut(std::size_t size) {
    WARIFU_ASSERT(size <= left_);
    buffer out(size);
    for (std::size_t done = 0; done < size;) {
        buffer& first = parts_.front();
        const std::size_t step = std::min(size - done, first.size() - used_of_first_);
        const bytes_span from = first.span(used_of_first_, step);
        std::ranges::copy(from, out.span(done, step).begin());
        wipe(from);
        done += step;
        used_of_first_ += step;
        if (used_of_first_ < first.size()) continue;
        parts_.pop_front();
        used_of_first_ = 0;
    }
    left_ -= size;
    return out;
}

}  // namespace warifu
