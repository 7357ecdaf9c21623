#include "fs/volume/generations.h"

#include <atomic>
#include <rocksdb/db.h>
#include <utility>

#include "fs/base/assert.h"

namespace warifu {
namespace {

constexpr std::size_t kept_max = 3;
std::atomic<std::uint64_t> next_id = 1;

}  // namespace

generation::generation() = default;
generation::~generation() {
    names.reset();
    db.reset();
}

generations::generations() : id_(next_id++) {}

generations::seen& generations::of_this_thread() {
    static thread_local std::map<std::uint64_t, std::shared_ptr<seen>> mine;
    auto& here = mine[id_];
    if (!here) {
        here = std::make_shared<seen>();
        const std::lock_guard lock(mutex_);
        threads_.push_back(here);
    }
    return *here;
}

void generations::publish(std::shared_ptr<const generation> next) {
    std::vector<std::shared_ptr<const generation>> gone;  // closed without a lock
    const std::lock_guard lock(mutex_);
    gone.push_back(std::exchange(newest_, std::move(next)));
    std::erase_if(threads_, [](const auto& thread) { return thread.expired(); });
    for (const auto& one : threads_) {
        const auto thread = one.lock();
        if (!thread) continue;
        const std::lock_guard thread_lock(thread->mutex);
        if (steady_clock::now() - thread->asked < generation_kept) continue;
        for (auto& old : thread->kept) gone.push_back(std::move(old));
        thread->kept.clear();
    }
}

name_space& generations::current() {
    seen& here = of_this_thread();
    std::shared_ptr<const generation> newest;
    {
        const std::lock_guard lock(mutex_);
        newest = newest_;
    }
    WARIFU_ASSERT(newest != nullptr);
    std::shared_ptr<const generation> oldest;  // closed without a lock
    const std::lock_guard lock(here.mutex);
    here.asked = steady_clock::now();
    if (here.kept.empty() || here.kept.back() != newest) {
        here.kept.push_back(newest);
        if (here.kept.size() > kept_max) {
            oldest = std::move(here.kept.front());
            here.kept.erase(here.kept.begin());
        }
    }
    return *newest->names;
}

void generations::clear() {
    std::vector<std::shared_ptr<const generation>> all;
    const std::lock_guard lock(mutex_);
    all.push_back(std::exchange(newest_, nullptr));
    for (const auto& one : threads_) {
        const auto thread = one.lock();
        if (!thread) continue;
        const std::lock_guard thread_lock(thread->mutex);
        for (auto& old : thread->kept) all.push_back(std::move(old));
        thread->kept.clear();
    }
    threads_.clear();
}

}  // namespace warifu
