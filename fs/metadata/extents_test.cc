// Extents against files that are arrays of bytes; references and the freed list against what the extents say.

#include <gtest/gtest.h>
#include <random>

#include "fs/metadata/name_space.h"
#include "fs/metadata/name_space_test_util.h"

namespace warifu {
namespace {

constexpr ballot epochs[] = {{3, 77}, {1, 5}, {9, 1}, {9, 2}};  // met in no order

/// One byte of a file: which byte of which piece. All zero is a hole.
struct origin {
    chunk_id chunk;
    std::uint16_t piece = 0;
    std::uint32_t offset = 0;
    bool operator==(const origin&) const = default;
};

class model_files {
  public:
    explicit model_files(unsigned seed) : random_(seed) {
        for (int i = 0; i < 3; ++i) {
            files_.push_back(make_file(*f.names, root_inode, "file" + std::to_string(i)).number);
            bytes_.emplace_back();
        }
    }

    std::uint64_t draw(std::uint64_t below) { return random_() % below; }

    /// Puts new pieces at a random place, with a hole now and then.
    void overwrite() {
        const auto file = draw(files_.size());
        const auto offset = draw(400);
        const auto size = 1 + draw(120);
        std::vector<extent> fresh;
        std::vector<origin> content(size);
        for (std::uint64_t at_byte = 0; at_byte < size;) {
            const auto part = std::min(size - at_byte, 1 + draw(50));
            if (draw(4) != 0) {
                const extent e = new_extent(offset + at_byte, static_cast<std::uint32_t>(part));
                fresh.push_back(e);
                for (std::uint32_t i = 0; i < part; ++i) content[at_byte + i] = {e.chunk, e.piece, e.piece_offset + i};
            }
            at_byte += part;
        }
        auto changed = *f.names->get(files_[file]);
        changed.size = std::max<std::uint64_t>(changed.size, offset + size);
        ASSERT_TRUE(f.names->replace_extents(changed, offset, size, fresh));
        put(file, offset, content);
    }

    void truncate() {
        const auto file = draw(files_.size());
        const auto size = draw(500);
        auto changed = *f.names->get(files_[file]);
        changed.size = size;
        ASSERT_TRUE(f.names->replace_extents(changed, size, ~std::uint64_t{0} - size, {}));
        if (bytes_[file].size() > size) bytes_[file].resize(size);
    }

    void punch() {
        const auto file = draw(files_.size());
        const auto offset = draw(400);
        const auto size = draw(100);
        ASSERT_TRUE(f.names->replace_extents(*f.names->get(files_[file]), offset, size, {}));
        put(file, offset, std::vector<origin>(size));
    }

    void clone() {
        const auto from = draw(files_.size());
        const auto to = draw(files_.size());
        const auto from_offset = draw(400);
        const auto to_offset = draw(400);
        const auto size = draw(200);
        auto changed = *f.names->get(files_[to]);
        changed.size = std::max<std::uint64_t>(changed.size, to_offset + size);
        ASSERT_TRUE(f.names->clone(files_[from], from_offset, changed, to_offset, size));
        std::vector<origin> content(size);
        for (std::uint64_t i = 0; i < size && from_offset + i < bytes_[from].size(); ++i)
            content[i] = bytes_[from][from_offset + i];
        put(to, to_offset, content);
    }

    void forget_and_make_again() {
        const auto file = draw(files_.size());
        const std::string name = "file" + std::to_string(file);
        ASSERT_TRUE(f.names->unlink(root_inode, name, at(3)));
        const auto budget = 1 + draw(5);
        result<bool> gone = false;
        while (gone && !*gone) gone = f.names->forget_orphan(files_[file], budget);
        ASSERT_TRUE(gone) << gone.error().message();
        files_[file] = make_file(*f.names, root_inode, name).number;
        bytes_[file].clear();
    }

    /// Compares everything.
    void compare() {
        std::map<std::pair<chunk_id, std::uint16_t>, std::uint32_t> references;
        for (std::size_t file = 0; file < files_.size(); ++file) {
            std::vector<origin> found(bytes_[file].size());
            const auto extents = f.names->extents(files_[file], 0, file_size_max);
            ASSERT_TRUE(extents);
            for (const auto& e : *extents) {
                ++references[{e.chunk, e.piece}];
                ASSERT_LE(e.end(), found.size());
                for (std::uint32_t i = 0; i < e.size; ++i)
                    found[e.file_offset + i] = {e.chunk, e.piece, e.piece_offset + i};
            }
            ASSERT_TRUE(found == bytes_[file]) << "file " << file;
            compare_lookups(file, *extents);
        }
        std::map<std::pair<chunk_id, std::uint16_t>, std::uint32_t> live;
        chunk_id after;
        std::uint16_t after_piece = 0;
        while (true) {
            const auto pieces = f.names->live_pieces(after, after_piece, 1 + draw(7));
            ASSERT_TRUE(pieces);
            if (pieces->empty()) break;
            for (const auto& p : *pieces) {
                ASSERT_GT(std::pair(p.chunk, p.piece), std::pair(after, after_piece)) << "not in chunk order";
                live[{p.chunk, p.piece}] = p.references;
                EXPECT_EQ(p.placement, p.piece % 3);
                EXPECT_EQ(p.first_unit, 5U + p.piece);
                after = p.chunk;
                after_piece = p.piece;
            }
        }
        EXPECT_EQ(live, references);
        compare_freed(live);
        check(f);
    }

    name_space_fixture f;

  private:
    using piece_set = std::map<std::pair<chunk_id, std::uint16_t>, std::uint32_t>;

    extent new_extent(std::uint64_t file_offset, std::uint32_t size) {
        extent e;
        e.file_offset = file_offset;
        e.size = size;
        if (draw(3) == 0) ++sequence_;
        e.chunk = {epochs[sequence_ % std::size(epochs)], sequence_};
        e.piece = next_piece_[e.chunk]++;
        e.placement = e.piece % 3;
        e.first_unit = 5U + e.piece;
        e.piece_offset = static_cast<std::uint32_t>(draw(10));
        e.piece_size = e.piece_offset + size + static_cast<std::uint32_t>(draw(2) * draw(10));
        born_.insert({e.chunk, e.piece});
        return e;
    }

    void put(std::size_t file, std::uint64_t offset, const std::vector<origin>& content) {
        auto& bytes = bytes_[file];
        const auto size = f.names->get(files_[file])->size;
        if (bytes.size() < size) bytes.resize(size);
        for (std::size_t i = 0; i < content.size() && offset + i < bytes.size(); ++i) bytes[offset + i] = content[i];
    }

    void compare_lookups(std::size_t file, const std::vector<extent>& all) {
        const auto offset = draw(500);
        const auto size = draw(100);
        std::vector<extent> expected;
        std::optional<extent> next;
        for (const auto& e : all) {
            if (size > 0 && e.end() > offset && e.file_offset < offset + size) expected.push_back(e);
            if (e.end() > offset && !next) next = e;
        }
        EXPECT_EQ(*f.names->extents(files_[file], offset, size), expected);
        EXPECT_EQ(*f.names->next_extent(files_[file], offset), next);
    }

    /// Every piece that was ever made is alive or freed, exactly once; some of the freed list is acknowledged.
    void compare_freed(const piece_set& live) {
        std::uint64_t ticket = newest_ticket_;
        std::vector<std::uint64_t> acknowledged;
        while (true) {
            const auto list = f.names->freed(ticket, 1 + draw(9));
            ASSERT_TRUE(list);
            if (list->empty()) break;
            for (const auto& p : *list) {
                ASSERT_GT(p.ticket, ticket);
                ticket = p.ticket;
                EXPECT_TRUE(born_.contains({p.chunk, p.piece}));
                EXPECT_TRUE(freed_.insert({p.chunk, p.piece}).second) << "freed twice";
                const auto neighbour = live.lower_bound({p.chunk, 0});
                EXPECT_EQ(p.last_of_chunk, neighbour == live.end() || neighbour->first.first != p.chunk);
                if (draw(2) != 0) acknowledged.push_back(p.ticket);
            }
        }
        EXPECT_EQ(ticket, f.names->last_freed_ticket());
        newest_ticket_ = ticket;
        ASSERT_TRUE(f.names->acknowledge_removed(acknowledged));
        for (const auto t : acknowledged)
            EXPECT_TRUE(f.names->freed(t - 1, 1)->empty() || f.names->freed(t - 1, 1)->front().ticket != t);
        for (const auto& piece : born_) EXPECT_NE(live.contains(piece), freed_.contains(piece)) << "neither or both";
    }

    std::mt19937_64 random_;
    std::vector<inode_number> files_;
    std::vector<std::vector<origin>> bytes_;
    std::uint64_t sequence_ = 1;
    std::map<chunk_id, std::uint16_t> next_piece_;
    std::set<std::pair<chunk_id, std::uint16_t>> born_, freed_;
    std::uint64_t newest_ticket_ = 0;
};

TEST(extents, random_changes_equal_arrays_of_bytes) {
    const unsigned seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    model_files m(seed);
    for (int i = 0; i < 1500 && !testing::Test::HasFailure(); ++i) {
        const auto what = m.draw(20);
        if (what < 9)
            m.overwrite();
        else if (what < 12)
            m.punch();
        else if (what < 15)
            m.truncate();
        else if (what < 19)
            m.clone();
        else
            m.forget_and_make_again();
        if (i % 25 == 0) m.compare();
        if (i % 300 == 299) m.f.reopen();
    }
    m.compare();
}

extent simple_extent(std::uint64_t offset, std::uint32_t size, std::uint64_t sequence) {
    extent e;
    e.file_offset = offset;
    e.size = e.piece_size = size;
    e.chunk = {{1, 1}, sequence};
    return e;
}

TEST(extents, refuses_what_makes_no_sense) {
    name_space_fixture f;
    const auto file = make_file(*f.names, root_inode, "f");
    const auto code = [&](std::uint64_t offset, std::uint64_t size, std::vector<extent> fresh) {
        const auto r = f.names->replace_extents(file, offset, size, fresh);
        return r ? errc{} : r.error().code;
    };
    EXPECT_EQ(code(0, 10, {simple_extent(0, 10, 1)}), errc{});
    EXPECT_EQ(code(0, 10, {simple_extent(0, 11, 2)}), errc::bad_argument);
    EXPECT_EQ(code(5, 10, {simple_extent(4, 5, 2)}), errc::bad_argument);
    EXPECT_EQ(code(0, 10, {simple_extent(20, 5, 2)}), errc::bad_argument);
    EXPECT_EQ(code(0, 10, {simple_extent(0, 0, 2)}), errc::bad_argument);
    EXPECT_EQ(code(0, 10, {simple_extent(0, 6, 2), simple_extent(5, 5, 3)}), errc::bad_argument);
    EXPECT_EQ(code(0, 10, {simple_extent(5, 5, 2), simple_extent(0, 5, 3)}), errc::bad_argument);
    auto outside = simple_extent(0, 5, 2);
    outside.piece_offset = 1;
    EXPECT_EQ(code(0, 10, {outside}), errc::bad_argument);
    auto other = simple_extent(0, 10, 1);
    other.piece_size = 12;
    EXPECT_EQ(code(0, 10, {other}), errc::conflict);
    EXPECT_EQ(code(file_size_max - 5, 10, {simple_extent(file_size_max - 5, 10, 2)}), errc::file_too_big);
    EXPECT_EQ(code(file_size_max + 1, 10, {}), errc::file_too_big);
    auto missing = file;
    missing.number = 4711;
    EXPECT_EQ(f.names->replace_extents(missing, 0, 1, {}).error().code, errc::not_found);
    EXPECT_EQ(f.names->replace_extents(*f.names->get(root_inode), 0, 1, {}).error().code, errc::is_directory);
    EXPECT_EQ(f.names->clone(4711, 0, file, 0, 10).error().code, errc::not_found);
    EXPECT_EQ(f.names->extents(file.number, 0, 100)->size(), 1U);
    check(f);
}

TEST(extents, a_file_that_is_being_forgotten_takes_no_bytes) {
    name_space_fixture f;
    auto file = make_file(*f.names, root_inode, "f");
    file.size = 100;
    std::vector<extent> fresh;
    for (std::uint64_t i = 0; i < 10; ++i) fresh.push_back(simple_extent(10 * i, 10, i));
    ASSERT_TRUE(f.names->replace_extents(file, 0, 100, fresh));
    ASSERT_TRUE(f.names->unlink(root_inode, "f", at(2)));
    // Still open: reads and writes go on.
    ASSERT_TRUE(f.names->replace_extents(file, 0, 10, {simple_extent(0, 10, 50)}));
    check(f);
    EXPECT_FALSE(*f.names->forget_orphan(file.number, 3));
    check(f);
    EXPECT_EQ(f.names->replace_extents(file, 0, 10, {simple_extent(0, 10, 51)}).error().code, errc::stale_handle);
    // A crash in between: the rest goes after it.
    f.reopen();
    EXPECT_FALSE(*f.names->forget_orphan(file.number, 3));
    EXPECT_TRUE(*f.names->forget_orphan(file.number, 100));
    EXPECT_EQ(f.names->freed(0, 100)->size(), 11U);
    EXPECT_EQ(f.names->use().stored_bytes, 0U);
    check(f);
}

TEST(extents, a_file_of_100000_extents) {
    name_space_fixture f;
    auto file = make_file(*f.names, root_inode, "f");
    constexpr std::uint64_t count = 100'000, size = 4096;
    for (std::uint64_t i = 0; i < count; i += 1000) {
        std::vector<extent> fresh;
        for (std::uint64_t j = i; j < i + 1000; ++j) fresh.push_back(simple_extent(j * size, size, 1000 + j));
        file.size = (i + 1000) * size;
        const auto now = f.names->replace_extents(file, i * size, 1000 * size, fresh);
        ASSERT_TRUE(now);
        EXPECT_EQ(now->stored_size, file.size);
    }
    EXPECT_EQ(f.names->extents(file.number, 0, file_size_max)->size(), count);
    EXPECT_EQ(f.names->next_extent(file.number, 77'777 * size)->value().chunk.sequence, 78'777U);
    auto copy = make_file(*f.names, root_inode, "copy");
    copy.size = file.size;
    ASSERT_TRUE(f.names->clone(file.number, 0, copy, 0, file.size));
    file.size = 10;
    ASSERT_TRUE(f.names->replace_extents(file, 10, ~std::uint64_t{0} - 10, {}));
    EXPECT_TRUE(f.names->freed(0, 10)->empty());
    ASSERT_TRUE(f.names->unlink(root_inode, "copy", at(3)));
    while (!*f.names->forget_orphan(copy.number, 1000)) {
    }
    EXPECT_EQ(f.names->freed(0, 1'000'000)->size(), count - 1);
    EXPECT_EQ(f.names->use().stored_bytes, 10U);
    check(f);
}

}  // namespace
}  // namespace warifu
