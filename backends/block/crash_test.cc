// Random work on a device that crashes at a random operation; then many disks that the crash may have left, each opened
// and compared with what was answered. The seed of a failure is printed; WARIFU_SEED repeats it.

#include <cstdlib>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>

#include "backends/block/block_store.h"
#include "backends/block/crash_device.h"
#include "backends/run_task.h"

namespace warifu {
namespace {

constexpr std::uint64_t device_sectors = store_size_min / sector_size;
constexpr int images_per_run = 8;
const volume_id volume_name{{std::byte{7}}};

using random_engine = std::mt19937_64;

byte_vector random_bytes(random_engine& random, std::size_t size) {
    byte_vector out(size);
    for (std::size_t i = 0; i < size; i += 8) {
        const std::uint64_t word = random() | 1U;
        std::memcpy(out.data() + i, &word, std::min<std::size_t>(8, size - i));
    }
    return out;
}

struct model_chunk {
    std::vector<byte_vector> pieces;
    byte_vector side;
    bool answered = false;
    bool durable = false;        // a flush after the answer was answered
    bool removal_asked = false;  // of the whole chunk
    bool removal_answered = false;
    bool removal_durable = false;
    std::vector<bool> piece_removal_asked;
};

struct model_record {
    ballot epoch;
    std::vector<chunk_id> chunks;
    byte_vector share;
    bool operator==(const model_record&) const = default;
};
using model_journal = std::map<std::uint64_t, model_record>;

/// What was asked of a store and what it answered.
struct model {
    std::map<chunk_id, model_chunk> chunks;
    std::vector<model_journal> journals{{}};  // after each change asked for, in order
    std::size_t journal_answered = 0;         // index of the newest that must be there
    ballot promise_asked, promise_answered;

    void flushed() {
        for (auto& [id, chunk] : chunks) {
            chunk.durable |= chunk.answered;
            chunk.removal_durable |= chunk.removal_answered;
        }
    }
};

class crash_run {
  public:
    explicit crash_run(std::uint64_t seed) : random_(seed), seed_(seed) {}

    void go() {
        format();
        block_store_options options = options_for_run();
        auto disk = std::make_unique<crash_device>(core_.get_executor(), image_);
        disk->operations_left = 1 + random_() % 400;
        disk->delay = [this] { return static_cast<unsigned>(random_() % 6); };
        auto opened = run_task(core_, block_store::open_device(core_, std::move(disk), options));
        if (opened) {
            auto store = std::move(*opened);
            auto volume = *store->open_volume(volume_name);
            for (int step = 0; step < 120 && one_step(*volume); ++step) {
            }
        }
        idle();
        for (int i = 0; i < images_per_run && !testing::Test::HasFailure(); ++i)
            check_image(image_->crashed(random_), 0);
    }

  private:
    void format() {
        block_store_options options;
        const auto disk = std::make_unique<crash_device>(core_.get_executor(), image_);
        ASSERT_TRUE(run_task(core_, block_store::format_device(*disk, options)));
    }
    block_store_options options_for_run() {
        block_store_options options;
        options.zero_ahead = random_() % 2 == 0 ? 1U << 20U : 4U << 20U;
        options.checkpoint_after = random_() % 3 == 0 ? 1 : 0;
        return options;
    }
    void idle() {
        core_.restart();
        core_.run();
    }

    /// False when the device has crashed.
    bool one_step(share_store& store) {
        const auto kind = random_() % 100;
        if (writer_.is_zero() || kind < 4) return promise(store);
        if (kind < 30) return put(store);
        if (kind < 45) return put_with_record(store);
        if (kind < 75) return append(store);
        if (kind < 88) return remove(store);
        if (kind < 93) return cut(store);
        if (!run_task(core_, store.sync())) return false;
        model_.flushed();
        return true;
    }
    bool promise(share_store& store) {
        ++writer_.counter;
        writer_.nonce = random_();
        model_.promise_asked = writer_;
        if (!run_task(core_, store.promise(writer_))) return false;
        model_.promise_answered = writer_;
        model_.flushed();
        return true;
    }
    share_put next_share(chunk_id id) {
        model_chunk& chunk = model_.chunks[id];
        share_put share;
        share.chunk = id;
        share.authority = writer_;
        chunk.side = random_bytes(random_, random_() % 100);
        share.side = slice(buffer::copy_of(chunk.side));
        const std::size_t size_max = random_() % 8 == 0 ? 150'000 : 15'000;
        for (auto pieces = 1 + random_() % 4; pieces-- > 0;) {
            chunk.pieces.push_back(random_bytes(random_, 1 + random_() % size_max));
            share.pieces.emplace_back(buffer::copy_of(chunk.pieces.back()));
        }
        chunk.piece_removal_asked.resize(chunk.pieces.size());
        return share;
    }
    bool put(share_store& store) {
        const int count = random_() % 4 == 0 ? 5 : 1;  // sometimes several at once
        int left = count, good = 0;
        for (int i = 0; i < count; ++i) {
            const chunk_id id{writer_, next_chunk_++};
            asio::co_spawn(core_, store.put(next_share(id)), [&, id](std::exception_ptr, result<void> done) {
                --left;
                good += done || done.error().code == errc::no_space ? 1 : 0;
                model_.chunks[id].answered = done.has_value();
            });
        }
        while (left > 0) {
            core_.restart();
            core_.run_one();
        }
        return good == count;
    }
    /// As a writer does it: a record behind the puts that it names, none of which is answered.
    bool put_with_record(share_store& store) {
        append_request request;
        model_journal after = model_.journals.back();
        model_record record;
        request.authority = request.entry.epoch = record.epoch = writer_;
        request.entry.sequence = after.empty() ? 1 : after.rbegin()->first + 1;
        const int puts = 1 + static_cast<int>(random_() % 3);
        int left = puts + 1, good = 0;
        for (int i = 0; i < puts; ++i) {
            const chunk_id id{writer_, next_chunk_++};
            record.chunks.push_back(id);
            asio::co_spawn(core_, store.put(next_share(id)), [&, id](std::exception_ptr, result<void> done) {
                --left;
                good += done || done.error().code == errc::no_space ? 1 : 0;
                model_.chunks[id].answered = done.has_value();
            });
        }
        record.share = random_bytes(random_, random_() % 6 == 0 ? 30'000 : random_() % 600);
        request.entry.chunks = record.chunks;
        request.entry.share = slice(buffer::copy_of(record.share));
        after[request.entry.sequence] = std::move(record);
        model_.journals.push_back(std::move(after));
        const std::size_t index = model_.journals.size() - 1;
        bool refused = false;
        asio::co_spawn(core_, store.append(std::move(request)), [&, index](std::exception_ptr, result<void> done) {
            --left;
            refused = !done && (done.error().code == errc::no_space || done.error().code == errc::not_found);
            good += done || refused ? 1 : 0;
            if (done) model_.journal_answered = std::max(model_.journal_answered, index);
            if (done) model_.flushed();
        });
        while (left > 0) {
            core_.restart();
            core_.run_one();
        }
        if (refused) model_.journals.push_back(model_.journals[index - 1]);
        return good == puts + 1;
    }
    append_request next_record(model_journal& after) {
        append_request request;
        request.authority = writer_;
        const std::uint64_t last = after.empty() ? 0 : after.rbegin()->first;
        request.entry.sequence = last + 1;
        request.entry.epoch = writer_;
        if (!after.empty() && random_() % 8 == 0) {  // in the place of an earlier one, or anew
            request.restart = random_() % 2 == 0;
            const std::uint64_t at = after.begin()->first + random_() % after.size();
            if (request.restart)
                request.entry.sequence = last + 5;
            else if (after.at(at).epoch < writer_)
                request.entry.sequence = at;
        }
        for (const auto& [id, chunk] : model_.chunks)
            if (chunk.answered && !chunk.removal_asked && random_() % 4 == 0) request.entry.chunks.push_back(id);
        model_record record;
        record.epoch = writer_;
        record.chunks = request.entry.chunks;
        record.share = random_bytes(random_, random_() % 6 == 0 ? 30'000 : random_() % 600);
        request.entry.share = slice(buffer::copy_of(record.share));
        if (request.restart) after.clear();
        after.erase(after.lower_bound(request.entry.sequence), after.end());
        after[request.entry.sequence] = std::move(record);
        return request;
    }
    bool append(share_store& store) {
        const int count = random_() % 4 == 0 ? 4 : 1;  // sometimes in flight together
        int left = count, good = 0;
        bool broken = false;
        for (int i = 0; i < count; ++i) {
            model_journal after = model_.journals.back();
            append_request request = next_record(after);
            model_.journals.push_back(std::move(after));
            const std::size_t index = model_.journals.size() - 1;
            asio::co_spawn(core_, store.append(std::move(request)), [&, index](std::exception_ptr, result<void> done) {
                --left;
                good += done ? 1 : 0;
                if (done) model_.journal_answered = std::max(model_.journal_answered, index);
                if (done) return;
                // When one fails (crash, or no room for a large one), those in flight behind it lack a predecessor.
                const errc code = done.error().code;
                EXPECT_TRUE(broken || code == errc::io_error || code == errc::no_space) << done.error().message();
                broken = true;
            });
        }
        while (left > 0) {
            core_.restart();
            core_.run_one();
        }
        if (good > 0) model_.flushed();
        return good == count;
    }
    bool remove(share_store& store) {
        std::vector<share_removal> removals;
        for (auto& [id, chunk] : model_.chunks) {
            if (!chunk.answered || chunk.removal_asked || random_() % 4 != 0) continue;
            share_removal removal;
            removal.chunk = id;
            if (random_() % 2 == 0 && chunk.pieces.size() > 1) {
                const auto piece = static_cast<std::uint32_t>(random_() % chunk.pieces.size());
                removal.pieces.push_back(piece);
                chunk.piece_removal_asked[piece] = true;
                const bool all = std::ranges::all_of(chunk.piece_removal_asked, [](bool asked) { return asked; });
                chunk.removal_asked |= all;
            } else {
                chunk.removal_asked = true;
            }
            removals.push_back(std::move(removal));
        }
        if (!run_task(core_, store.remove(writer_, removals))) return false;
        for (const share_removal& removal : removals)
            if (model_.chunks[removal.chunk].removal_asked) model_.chunks[removal.chunk].removal_answered = true;
        return true;
    }
    bool cut(share_store& store) {
        model_journal after = model_.journals.back();
        if (after.empty()) return true;
        const std::uint64_t first = after.begin()->first + random_() % after.size();
        after.erase(after.begin(), after.lower_bound(first));
        model_.journals.push_back(std::move(after));
        return run_task(core_, store.cut_journal(writer_, first)).has_value();
    }

    /// Opens a possible disk and compares. Then sometimes crashes again while it was being opened.
    void check_image(std::shared_ptr<disk_image> image, int depth) {
        SCOPED_TRACE("WARIFU_SEED=" + std::to_string(seed_) + " depth " + std::to_string(depth));
        if (depth == 0 && random_() % 4 == 0) {
            auto disk = std::make_unique<crash_device>(core_.get_executor(), image);
            disk->operations_left = random_() % 60;
            auto half = run_task(core_, block_store::open_device(core_, std::move(disk), options_for_run()));
            if (half) half->reset();
            idle();
            image = image->crashed(random_);
        }
        auto disk = std::make_unique<crash_device>(core_.get_executor(), image);
        auto opened = run_task(core_, block_store::open_device(core_, std::move(disk), options_for_run()));
        ASSERT_TRUE(opened) << opened.error().message();
        auto store = std::move(*opened);
        auto volume = *store->open_volume(volume_name);
        const auto state = run_task(core_, volume->state());
        ASSERT_GE(state->promised, model_.promise_answered);
        ASSERT_LE(state->promised, model_.promise_asked);
        check_journal(*volume);
        check_chunks(*volume);
        check_erased(*volume, *image);
        if (testing::Test::HasFatalFailure()) return;
        check_usable(*volume, *state);
        volume.reset();
        store.reset();
        idle();
    }
    void check_journal(share_store& volume) {
        const auto entries = run_task(core_, volume.read_journal(0, UINT32_MAX));
        ASSERT_TRUE(entries) << entries.error().message();
        model_journal found;
        for (const journal_entry& entry : *entries) {
            model_record& record = found[entry.sequence];
            record.epoch = entry.epoch;
            record.chunks = entry.chunks;
            record.share.assign(entry.share.view().begin(), entry.share.view().end());
        }
        bool known = false;
        for (std::size_t i = model_.journal_answered; i < model_.journals.size(); ++i)
            known |= model_.journals[i] == found;
        ASSERT_TRUE(known) << "the journal is not one that was asked for, with everything that was answered";
        for (const auto& [sequence, record] : found)
            for (const chunk_id& id : record.chunks)
                if (!model_.chunks.at(id).removal_asked) {
                    ASSERT_TRUE(run_task(core_, volume.describe(id))) << "a record without its chunk " << to_text(id);
                }
    }
    void check_chunks(share_store& volume) {
        const auto listed = run_task(core_, volume.list(chunk_id(), list_count_max));
        ASSERT_TRUE(listed);
        const std::set<chunk_id> present(listed->begin(), listed->end());
        for (const chunk_id& id : present) {
            const model_chunk& chunk = model_.chunks.at(id);
            const auto description = run_task(core_, volume.describe(id));
            ASSERT_TRUE(description) << description.error().message();
            for (std::uint32_t i = 0; i < chunk.pieces.size(); ++i) {
                share_range range;
                range.part = i;
                range.size = description->piece_sizes[i];
                if (range.size == 0) {
                    ASSERT_TRUE(chunk.piece_removal_asked[i]);
                    continue;
                }
                const auto bytes = run_task(core_, volume.get(id, std::vector{range}));
                ASSERT_TRUE(bytes) << bytes.error().message();
                ASSERT_TRUE(std::ranges::equal((*bytes)[0].view(), chunk.pieces[i]));
            }
        }
        for (const auto& [id, chunk] : model_.chunks) {
            if (chunk.durable && !chunk.removal_asked) {
                ASSERT_TRUE(present.contains(id)) << to_text(id);
            }
            if (chunk.removal_durable) {
                ASSERT_FALSE(present.contains(id)) << to_text(id);
            }
        }
    }
    /// After the background work no sector holds bytes of a chunk that is not there.
    void check_erased(share_store& volume, const disk_image& image) {
        idle();
        const auto listed = run_task(core_, volume.list(chunk_id(), list_count_max));
        const std::set<chunk_id> present(listed->begin(), listed->end());
        std::map<std::uint64_t, chunk_id> first_words;
        for (const auto& [id, chunk] : model_.chunks)
            for (const byte_vector& piece : chunk.pieces) {
                std::uint64_t word = 0;
                if (piece.size() < 8) continue;
                std::memcpy(&word, piece.data(), 8);
                first_words[word] = id;
            }
        for (std::uint64_t sector = 0; sector < device_sectors; ++sector) {
            std::uint64_t word = 0;
            std::memcpy(&word, image.live.data() + sector * sector_size, 8);
            const auto found = first_words.find(word);
            if (found == first_words.end()) continue;
            ASSERT_TRUE(present.contains(found->second)) << "bytes of a chunk that is not there, in sector " << sector;
        }
    }
    void check_usable(share_store& volume, const store_state& state) {
        const ballot next{model_.promise_asked.counter + 1, 1};
        ASSERT_TRUE(run_task(core_, volume.promise(next)));
        share_put share;
        share.chunk = chunk_id{next, 1};
        share.authority = next;
        share.pieces.emplace_back(buffer::zeroed(100));
        const auto put = run_task(core_, volume.put(std::move(share)));
        ASSERT_TRUE(put || put.error().code == errc::no_space) << put.error().message();
        append_request request;
        request.authority = next;
        request.entry.epoch = next;
        request.entry.sequence = state.journal.last + 1;
        const auto appended = run_task(core_, volume.append(std::move(request)));
        ASSERT_TRUE(appended) << appended.error().message();
    }

    random_engine random_;
    std::uint64_t seed_;
    asio::io_context core_;
    std::shared_ptr<disk_image> image_ = std::make_shared<disk_image>(device_sectors);
    model model_;
    ballot writer_;
    std::uint64_t next_chunk_ = 1;
};

TEST(block_store_crash, every_disk_that_a_crash_may_leave_shows_what_was_answered) {
    if (const char* seed = std::getenv("WARIFU_SEED")) {
        crash_run(std::strtoull(seed, nullptr, 10)).go();
        return;
    }
    const char* wanted = std::getenv("WARIFU_CRASH_RUNS");
    const std::uint64_t runs = wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : 200;
    std::random_device device;
    const std::uint64_t base = device();
    RecordProperty("first_seed", std::to_string(base));
    for (std::uint64_t i = 0; i < runs && !HasFailure(); ++i) crash_run(base + i).go();
}

}  // namespace
}  // namespace warifu
