// rename: every outcome, one tree per case; then random renames against a model.

#include <gtest/gtest.h>
#include <random>

#include "fs/metadata/name_space.h"
#include "fs/metadata/name_space_test_util.h"

namespace warifu {
namespace {

constexpr auto replace = rename_mode::replace;
constexpr auto no_replace = rename_mode::no_replace;
constexpr auto exchange = rename_mode::exchange;

/// A tree with one of everything:  /f /g /hard1 /hard2 (one inode) /d/ /d/sub/ /d/sub/deep/ /empty/ /full/ /full/x
struct tree : name_space_fixture {
    tree() {
        for (const char* name : {"d", "empty", "full"}) make(root_inode, name, S_IFDIR | 0755);
        make(number_of("/d"), "sub", S_IFDIR | 0755);
        make(number_of("/d/sub"), "deep", S_IFDIR | 0755);
        for (const char* name : {"f", "g", "hard1"}) make(root_inode, name, S_IFREG | 0644);
        make(number_of("/full"), "x", S_IFREG | 0644);
        EXPECT_TRUE(names->link(number_of("/hard1"), root_inode, "hard2", at(101)));
    }
    void make(inode_number parent, std::string_view name, std::uint32_t mode) {
        EXPECT_TRUE(names->create(parent, name, fresh_inode(mode)));
    }
    inode_number number_of(const std::string& path) const {
        inode_number number = root_inode;
        for (std::size_t start = 1; start < path.size();) {
            const auto end = std::min(path.find('/', start), path.size());
            const auto found = names->lookup(number, path.substr(start, end - start));
            if (!found) return 0;
            number = found->number;
            start = end + 1;
        }
        return number;
    }
    result<rename_outcome> rename(const std::string& from, const std::string& to, rename_mode mode) {
        const auto parent = [this](const std::string& path) {
            return number_of(path.substr(0, std::max<std::size_t>(1, path.rfind('/'))));
        };
        const auto last = [](const std::string& path) { return path.substr(path.rfind('/') + 1); };
        return names->rename(parent(from), last(from), parent(to), last(to), mode, at(200));
    }
};

struct rename_case {
    const char* from;
    const char* to;
    rename_mode mode;
    std::optional<errc> failure;
    bool replaces = false;
};

const rename_case cases[] = {
    // Plain moves
    {"/f", "/new", replace, {}},
    {"/f", "/new", no_replace, {}},
    {"/f", "/d/new", replace, {}},
    {"/d", "/new", replace, {}},
    {"/d/sub", "/new", replace, {}},
    {"/d/sub", "/empty/new", replace, {}},
    {"/missing", "/new", replace, errc::not_found},
    {"/missing", "/f", no_replace, errc::not_found},
    {"/f", "/new", exchange, errc::not_found},
    {"/f/x", "/new", replace, errc::not_directory},
    {"/f", "/g/x", replace, errc::not_directory},
    // Over something
    {"/f", "/g", replace, {}, true},
    {"/f", "/full/x", replace, {}, true},
    {"/f", "/g", no_replace, errc::exists},
    {"/d", "/empty", replace, {}, true},
    {"/d/sub", "/empty", replace, {}, true},
    {"/empty", "/d/sub/deep", replace, {}, true},
    {"/f", "/empty", replace, errc::is_directory},
    {"/f", "/full", replace, errc::is_directory},
    {"/empty", "/f", replace, errc::not_directory},
    {"/empty", "/full", replace, errc::not_empty},
    {"/d/sub", "/full", replace, errc::not_empty},
    {"/d/sub", "/d", replace, errc::not_empty},
    {"/full/x", "/full", replace, errc::is_directory},
    // One inode
    {"/f", "/f", replace, {}},
    {"/f", "/f", no_replace, errc::exists},
    {"/f", "/f", exchange, {}},
    {"/d", "/d", replace, {}},
    {"/hard1", "/hard2", replace, {}},
    {"/hard1", "/hard2", exchange, {}},
    {"/hard1", "/f", replace, {}, true},
    {"/f", "/hard1", replace, {}, true},
    // Below itself
    {"/d", "/d/new", replace, errc::bad_argument},
    {"/d", "/d/sub", replace, errc::bad_argument},
    {"/d", "/d/sub/new", replace, errc::bad_argument},
    {"/d", "/d/sub/deep/new", replace, errc::bad_argument},
    {"/d", "/d/sub/deep", exchange, errc::bad_argument},
    {"/d/sub/deep", "/d", exchange, errc::bad_argument},
    {"/d/sub", "/d", exchange, errc::bad_argument},
    // Exchange
    {"/f", "/g", exchange, {}},
    {"/f", "/d", exchange, {}},
    {"/d", "/f", exchange, {}},
    {"/f", "/full/x", exchange, {}},
    {"/d/sub", "/full", exchange, {}},
    {"/d/sub", "/full/x", exchange, {}},
    {"/full/x", "/d/sub/deep", exchange, {}},
};

TEST(rename, every_outcome) {
    for (const auto& c : cases) {
        SCOPED_TRACE(std::string(c.from) + " -> " + c.to + " mode " + std::to_string(static_cast<int>(c.mode)));
        tree t;
        const auto moved = t.number_of(c.from);
        const auto target = t.number_of(c.to);
        const auto outcome = t.rename(c.from, c.to, c.mode);
        check(t);
        if (c.failure) {
            ASSERT_FALSE(outcome);
            EXPECT_EQ(outcome.error().code, *c.failure) << outcome.error().message();
            EXPECT_EQ(t.number_of(c.from), moved);
            EXPECT_EQ(t.number_of(c.to), target);
            continue;
        }
        ASSERT_TRUE(outcome) << outcome.error().message();
        EXPECT_EQ(outcome->replaced.has_value(), c.replaces);
        EXPECT_EQ(t.number_of(c.to), moved);
        if (moved == target) {
            EXPECT_EQ(t.number_of(c.from), moved) << "nothing happens";
            EXPECT_NE(t.names->get(moved)->change_time, at(200));
            continue;
        }
        EXPECT_EQ(t.names->get(moved)->change_time, at(200));
        if (c.mode == exchange) {
            EXPECT_EQ(t.number_of(c.from), target);
            EXPECT_EQ(t.names->get(target)->change_time, at(200));
        } else {
            EXPECT_EQ(t.number_of(c.from), 0U);
        }
        if (c.replaces) {
            EXPECT_EQ(outcome->replaced->number, target);
            EXPECT_EQ(*t.names->get(target), *outcome->replaced);
        }
    }
}

TEST(rename, touches_both_parents_and_moves_dot_dot) {
    tree t;
    ASSERT_TRUE(t.rename("/d/sub", "/empty/moved", replace));
    const auto d = *t.names->get(t.number_of("/d"));
    const auto empty = *t.names->get(t.number_of("/empty"));
    EXPECT_EQ(d.modify_time, at(200));
    EXPECT_EQ(d.change_time, at(200));
    EXPECT_EQ(d.link_count, 2U);
    EXPECT_EQ(d.size, 0U);
    EXPECT_EQ(empty.modify_time, at(200));
    EXPECT_EQ(empty.link_count, 3U);
    EXPECT_EQ(empty.size, 1U);
    EXPECT_EQ(t.names->lookup(t.number_of("/empty/moved"), "..")->number, empty.number);
    EXPECT_EQ(t.names->get(root_inode)->modify_time, at(101)) << "no name of the root changed";
}

TEST(rename, a_replaced_file_with_another_link_lives_on) {
    tree t;
    const auto hard = t.number_of("/hard1");
    const auto outcome = t.rename("/f", "/hard1", replace);
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->replaced->link_count, 1U);
    EXPECT_EQ(t.number_of("/hard2"), hard);
    EXPECT_TRUE(t.names->orphans(10)->empty());
    ASSERT_TRUE(t.rename("/g", "/hard2", replace));
    EXPECT_EQ(*t.names->orphans(10), std::vector<inode_number>{hard});
    check(t);
}

/// Random renames among directories and files with few hash values; a model of parents decides what is legal.
TEST(rename, random_trees) {
    const unsigned seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    name_space_fixture f(0x100);
    std::vector<inode_number> directories{root_inode};
    for (int i = 0; i < 12; ++i) {
        const auto parent = directories[random() % directories.size()];
        directories.push_back(make_directory(*f.names, parent, "d" + std::to_string(i)).number);
    }
    int done = 0, refused = 0;
    for (int i = 0; i < 3000; ++i) {
        const auto from = directories[random() % directories.size()];
        const auto to = directories[random() % directories.size()];
        const std::string from_name = (random() % 2 ? "d" : "f") + std::to_string(random() % 13);
        const std::string to_name = (random() % 2 ? "d" : "f") + std::to_string(random() % 13);
        if (random() % 3 == 0) (void)f.names->create(from, from_name, fresh_inode(S_IFREG | 0644));
        const auto mode = static_cast<rename_mode>(random() % 3);
        const auto outcome = f.names->rename(from, from_name, to, to_name, mode, at(i));
        outcome ? ++done : ++refused;
        // A directory may have been replaced: it is no place for names any more.
        std::erase_if(directories, [&](inode_number d) { return d != root_inode && f.names->get(d)->link_count == 0; });
        // Every directory leads to the root.
        for (const auto d : directories) {
            inode_number at_directory = d;
            for (int depth = 0; at_directory != root_inode; ++depth) {
                ASSERT_LT(depth, 20) << "a loop";
                at_directory = f.names->get(at_directory)->parent;
            }
        }
        if (i % 100 == 0) check(f);
    }
    EXPECT_GT(done, 100);
    EXPECT_GT(refused, 100);
    check(f);
}

}  // namespace
}  // namespace warifu
