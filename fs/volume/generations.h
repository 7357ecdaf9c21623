#pragma once
// The namespace of a follower: one after the other, each the whole state after some committed record. A reader's call
// sees one of them from its beginning to its end; an old one goes when no thread is left in it.

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "fs/base/clock.h"
#include "fs/metadata/name_space.h"
#include "fs/volume/metadata_files.h"

namespace rocksdb {
class DB;
}

namespace warifu {

struct generation {
    generation();
    ~generation();
    std::shared_ptr<metadata_files> files;  // outlives the database
    std::unique_ptr<rocksdb::DB> db;
    std::unique_ptr<name_space> names;
};

/// How long a thread that asks for nothing keeps namespaces that it may still be in: longer than any call's deadlines.
inline constexpr auto generation_kept = std::chrono::minutes(3);

/// Thread safety: all methods, any thread.
class generations {
  public:
    generations();
    /// From here on current() gives this one.
    void publish(std::shared_ptr<const generation> next);
    /// The newest namespace. The reference is good until this thread has seen three newer ones, and for three minutes
    /// after the next is published: longer than any one call of fs/files holds it. REQUIRES: something was published.
    name_space& current();
    /// Lets go of all. REQUIRES: no thread is in current() or uses what it gave.
    void clear();

  private:
    /// What one thread saw last, so that it is still there while the thread uses it.
    struct seen {
        std::mutex mutex;
        std::vector<std::shared_ptr<const generation>> kept;  // guarded by mutex; the newest last
        deadline asked{};                                     // guarded by mutex; when current() was called last
    };
    seen& of_this_thread();

    const std::uint64_t id_;                    // never reused
    std::mutex mutex_;                          // before any seen::mutex
    std::shared_ptr<const generation> newest_;  // guarded by mutex_
    std::vector<std::weak_ptr<seen>> threads_;  // guarded by mutex_; each lives as long as its thread
};

}  // namespace warifu
