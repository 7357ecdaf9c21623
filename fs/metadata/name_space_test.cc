// Names: every outcome of create, link, unlink, remove_directory, lookup, list and attributes.

#include "fs/metadata/name_space.h"

#include <cstdio>
#include <gtest/gtest.h>
#include <random>
#include <rocksdb/statistics.h>

#include "fs/metadata/name_space_test_util.h"

namespace warifu {
namespace {

/// The code of an outcome; 0 for success.
template <typename T>
int code(const result<T>& r) {
    return r ? 0 : static_cast<int>(r.error().code);
}
constexpr int ok = 0;
constexpr int code(errc e) {
    return static_cast<int>(e);
}

TEST(name_space, a_fresh_one_has_a_root) {
    name_space_fixture f;
    const auto root = f.names->get(root_inode);
    ASSERT_TRUE(root);
    EXPECT_EQ(root->mode, S_IFDIR | 0755U);
    EXPECT_EQ(root->uid, 10U);
    EXPECT_EQ(root->gid, 20U);
    EXPECT_EQ(root->link_count, 2U);
    EXPECT_EQ(root->size, 0U);
    EXPECT_EQ(root->parent, root_inode);
    EXPECT_EQ(root->birth_time, at(1));
    EXPECT_EQ(code(f.names->format(0755, 0, 0, at(1))), code(errc::conflict));
    check(f);
}

TEST(name_space, open_refuses_what_is_not_ours) {
    name_space_fixture f;
    const std::string header = header_key();
    std::string value;
    ASSERT_TRUE(f.db->Get(rocksdb::ReadOptions(), header, &value).ok());
    name_space other(*f.db);
    ASSERT_TRUE(f.db->Put(rocksdb::WriteOptions(), header, "xxxx" + value.substr(4)).ok());
    EXPECT_EQ(code(other.open()), code(errc::bad_format));
    value[5] = 9;
    ASSERT_TRUE(f.db->Put(rocksdb::WriteOptions(), header, value).ok());
    EXPECT_EQ(code(other.open()), code(errc::bad_version));
    ASSERT_TRUE(f.db->Delete(rocksdb::WriteOptions(), header).ok());
    EXPECT_EQ(code(other.open()), code(errc::bad_format));
}

TEST(name_space, create_sets_attributes_and_touches_the_parent) {
    name_space_fixture f;
    auto fresh = fresh_inode(S_IFREG | 0640, 77);
    const auto made = f.names->create(root_inode, "a", fresh);
    ASSERT_TRUE(made);
    EXPECT_EQ(made->mode, S_IFREG | 0640U);
    EXPECT_EQ(made->uid, 1000U);
    EXPECT_EQ(made->gid, 1001U);
    EXPECT_EQ(made->link_count, 1U);
    EXPECT_EQ(made->access_time, at(77));
    EXPECT_EQ(*f.names->get(made->number), *made);
    EXPECT_EQ(*f.names->lookup(root_inode, "a"), *made);
    const auto root = *f.names->get(root_inode);
    EXPECT_EQ(root.modify_time, at(77));
    EXPECT_EQ(root.change_time, at(77));
    EXPECT_EQ(root.access_time, at(1));
    EXPECT_EQ(root.size, 1U);
    EXPECT_EQ(root.link_count, 2U);

    const auto directory = make_directory(*f.names, root_inode, "d");
    EXPECT_EQ(directory.link_count, 2U);
    EXPECT_EQ(directory.parent, root_inode);
    EXPECT_EQ(f.names->get(root_inode)->link_count, 3U);
    fresh = fresh_inode(S_IFCHR | 0600);
    fresh.device = 0x1234567890;
    EXPECT_EQ(f.names->create(directory.number, "c", fresh)->device, 0x1234567890U);
    EXPECT_EQ(f.names->lookup(directory.number, "..")->number, root_inode);
    EXPECT_EQ(f.names->lookup(directory.number, ".")->number, directory.number);
    EXPECT_EQ(f.names->use().inodes, 4U);
    check(f);
}

TEST(name_space, a_set_group_id_directory_passes_its_group_on) {
    name_space_fixture f;
    auto d = fresh_inode(S_IFDIR | S_ISGID | 0775);
    d.gid = 500;
    const auto directory = *f.names->create(root_inode, "d", d);
    const auto file = make_file(*f.names, directory.number, "f");
    EXPECT_EQ(file.gid, 500U);
    EXPECT_EQ(file.mode, S_IFREG | 0644U);
    const auto sub = make_directory(*f.names, directory.number, "s");
    EXPECT_EQ(sub.gid, 500U);
    EXPECT_EQ(sub.mode, S_IFDIR | S_ISGID | 0755U);
    EXPECT_EQ(make_file(*f.names, sub.number, "g").gid, 500U);
}

TEST(name_space, names_are_any_bytes_but_slash_and_nul) {
    name_space_fixture f;
    const std::string longest(255, 'x');
    const struct {
        std::string name;
        int outcome;
    } cases[] = {
        {"a", ok},
        {std::string("\xff\xfe\x01", 3), ok},
        {"a b\n^~*?", ok},
        {"...", ok},
        {longest, ok},
        {longest + "x", code(errc::name_too_long)},
        {"", code(errc::bad_argument)},
        {".", code(errc::bad_argument)},
        {"..", code(errc::bad_argument)},
        {"a/b", code(errc::bad_argument)},
        {std::string("a\0b", 3), code(errc::bad_argument)},
    };
    for (const auto& c : cases) {
        SCOPED_TRACE(c.name);
        EXPECT_EQ(code(f.names->create(root_inode, c.name, fresh_inode(S_IFREG | 0644))), c.outcome);
        if (c.outcome == ok) {
            EXPECT_EQ(code(f.names->lookup(root_inode, c.name)), ok);
            EXPECT_EQ(code(f.names->create(root_inode, c.name, fresh_inode(S_IFREG | 0644))), code(errc::exists));
        }
        const auto file = f.names->lookup(root_inode, "a")->number;
        EXPECT_EQ(code(f.names->link(file, root_inode, c.name, at(2))),
                  c.outcome == ok ? code(errc::exists) : c.outcome);
        if (c.outcome != ok) {
            EXPECT_EQ(code(f.names->rename(root_inode, "a", root_inode, c.name, rename_mode::replace, at(2))),
                      c.outcome);
            EXPECT_EQ(code(f.names->unlink(root_inode, c.name, at(2))), c.outcome);
            EXPECT_EQ(code(f.names->remove_directory(root_inode, c.name, at(2))), c.outcome);
        }
    }
    EXPECT_EQ(f.names->list(root_inode, 0, 100)->size(), 5U);
    check(f);
}

TEST(name_space, symbolic_links) {
    name_space_fixture f;
    auto fresh = fresh_inode(S_IFLNK | 0777);
    fresh.symlink_target = std::string(4095, 't');
    const auto made = f.names->create(root_inode, "l", fresh);
    ASSERT_TRUE(made);
    EXPECT_EQ(made->size, 4095U);
    EXPECT_EQ(*f.names->read_link(made->number), fresh.symlink_target);
    fresh.symlink_target += 't';
    EXPECT_EQ(code(f.names->create(root_inode, "m", fresh)), code(errc::name_too_long));
    fresh.symlink_target = "";
    EXPECT_EQ(code(f.names->create(root_inode, "m", fresh)), code(errc::not_found));
    fresh.symlink_target = std::string("a\0b", 3);
    EXPECT_EQ(code(f.names->create(root_inode, "m", fresh)), code(errc::bad_argument));
    EXPECT_EQ(code(f.names->read_link(root_inode)), code(errc::bad_argument));
    EXPECT_EQ(code(f.names->read_link(99)), code(errc::not_found));
    auto grown = *made;
    grown.size = 1;
    grown.uid = 3;
    ASSERT_TRUE(f.names->set(grown));
    EXPECT_EQ(f.names->get(made->number)->size, 4095U);
    EXPECT_EQ(f.names->get(made->number)->uid, 3U);
    EXPECT_EQ(code(f.names->replace_extents(*made, 0, 10, {})), code(errc::bad_argument));
    EXPECT_EQ(f.names->unlink(root_inode, "l", at(3))->link_count, 0U);
    EXPECT_TRUE(*f.names->forget_orphan(made->number, 1));
    EXPECT_EQ(code(f.names->read_link(made->number)), code(errc::not_found));
    check(f);
}

TEST(name_space, wrong_types_and_missing_parents) {
    name_space_fixture f;
    const auto file = make_file(*f.names, root_inode, "f").number;
    const auto directory = make_directory(*f.names, root_inode, "d").number;
    const auto fresh = fresh_inode(S_IFREG | 0644);
    EXPECT_EQ(code(f.names->create(file, "x", fresh)), code(errc::not_directory));
    EXPECT_EQ(code(f.names->create(12345, "x", fresh)), code(errc::not_found));
    EXPECT_EQ(code(f.names->create(root_inode, "x", fresh_inode(0644))), code(errc::bad_argument));
    EXPECT_EQ(code(f.names->lookup(file, "x")), code(errc::not_directory));
    EXPECT_EQ(code(f.names->lookup(root_inode, "x")), code(errc::not_found));
    EXPECT_EQ(code(f.names->lookup(12345, "x")), code(errc::not_found));
    EXPECT_EQ(code(f.names->list(file, 0, 10)), code(errc::not_directory));
    EXPECT_EQ(code(f.names->get(12345)), code(errc::not_found));
    EXPECT_EQ(code(f.names->unlink(root_inode, "d", at(2))), code(errc::is_directory));
    EXPECT_EQ(code(f.names->unlink(root_inode, "x", at(2))), code(errc::not_found));
    EXPECT_EQ(code(f.names->unlink(file, "x", at(2))), code(errc::not_directory));
    EXPECT_EQ(code(f.names->remove_directory(root_inode, "f", at(2))), code(errc::not_directory));
    EXPECT_EQ(code(f.names->remove_directory(root_inode, "x", at(2))), code(errc::not_found));
    EXPECT_EQ(code(f.names->link(directory, root_inode, "x", at(2))), code(errc::not_permitted));
    EXPECT_EQ(code(f.names->link(12345, root_inode, "x", at(2))), code(errc::not_found));
    EXPECT_EQ(code(f.names->link(file, file, "x", at(2))), code(errc::not_directory));
    make_file(*f.names, directory, "inside");
    EXPECT_EQ(code(f.names->remove_directory(root_inode, "d", at(2))), code(errc::not_empty));
    check(f);
}

TEST(name_space, a_removed_directory_takes_no_names) {
    name_space_fixture f;
    const auto directory = make_directory(*f.names, root_inode, "d").number;
    const auto file = make_file(*f.names, root_inode, "f").number;
    const auto removed = f.names->remove_directory(root_inode, "d", at(9));
    ASSERT_TRUE(removed);
    EXPECT_EQ(removed->link_count, 0U);
    EXPECT_EQ(f.names->get(root_inode)->link_count, 2U);
    EXPECT_EQ(f.names->get(root_inode)->modify_time, at(9));
    EXPECT_EQ(code(f.names->create(directory, "x", fresh_inode(S_IFREG | 0644))), code(errc::not_found));
    EXPECT_EQ(code(f.names->link(file, directory, "x", at(2))), code(errc::not_found));
    EXPECT_EQ(code(f.names->rename(root_inode, "f", directory, "x", rename_mode::replace, at(2))),
              code(errc::not_found));
    EXPECT_TRUE(f.names->list(directory, 0, 10)->empty());
    EXPECT_EQ(*f.names->orphans(10), std::vector<inode_number>{directory});
    EXPECT_TRUE(*f.names->forget_orphan(directory, 1));
    EXPECT_EQ(code(f.names->list(directory, 0, 10)), code(errc::not_found));
    check(f);
}

TEST(name_space, hard_links_and_orphans) {
    name_space_fixture f;
    const auto file = make_file(*f.names, root_inode, "a").number;
    EXPECT_EQ(f.names->link(file, root_inode, "b", at(5))->link_count, 2U);
    EXPECT_EQ(f.names->get(file)->change_time, at(5));
    EXPECT_EQ(f.names->unlink(root_inode, "a", at(6))->link_count, 1U);
    EXPECT_EQ(code(f.names->forget_orphan(file, 1)), code(errc::bad_argument));
    EXPECT_TRUE(f.names->orphans(10)->empty());
    EXPECT_EQ(f.names->unlink(root_inode, "b", at(7))->link_count, 0U);
    EXPECT_EQ(f.names->get(file)->change_time, at(7));
    EXPECT_EQ(code(f.names->link(file, root_inode, "c", at(8))), code(errc::not_found));
    check(f);
    f.reopen();
    EXPECT_EQ(*f.names->orphans(10), std::vector<inode_number>{file});
    EXPECT_TRUE(*f.names->forget_orphan(file, 1));
    EXPECT_EQ(code(f.names->forget_orphan(file, 1)), code(errc::not_found));
    EXPECT_TRUE(f.names->orphans(10)->empty());
    EXPECT_EQ(f.names->use().inodes, 1U);
    check(f);
}

TEST(name_space, link_counts_have_a_limit) {
    name_space_fixture f;
    auto file = make_file(*f.names, root_inode, "f");
    // Straight into the record: 65,000 links one by one would take the test's time.
    file.link_count = link_count_max;
    ASSERT_TRUE(f.db->Put(rocksdb::WriteOptions(), inode_key(file.number), encode(file)).ok());
    EXPECT_EQ(code(f.names->link(file.number, root_inode, "g", at(2))), code(errc::too_many_links));
    auto directory = make_directory(*f.names, root_inode, "d");
    const auto sub = make_directory(*f.names, root_inode, "s");
    directory.link_count = link_count_max;
    ASSERT_TRUE(f.db->Put(rocksdb::WriteOptions(), inode_key(directory.number), encode(directory)).ok());
    EXPECT_EQ(code(f.names->create(directory.number, "x", fresh_inode(S_IFDIR | 0755))), code(errc::too_many_links));
    EXPECT_EQ(code(f.names->create(directory.number, "x", fresh_inode(S_IFREG | 0755))), ok);
    EXPECT_EQ(code(f.names->rename(root_inode, "s", directory.number, "s", rename_mode::replace, at(2))),
              code(errc::too_many_links));
    EXPECT_EQ(f.names->get(sub.number)->parent, root_inode);
}

TEST(name_space, inode_numbers_never_come_back) {
    name_space_fixture f;
    std::set<inode_number> seen;
    for (int round = 0; round < 5; ++round) {
        for (int i = 0; i < 700; ++i) {
            const auto number = make_file(*f.names, root_inode, "f").number;
            EXPECT_TRUE(seen.insert(number).second);
            ASSERT_TRUE(f.names->unlink(root_inode, "f", at(2)));
            ASSERT_TRUE(*f.names->forget_orphan(number, 1));
        }
        f.reopen();
    }
    check(f);
}

TEST(name_space, attributes) {
    using mode = name_space::attribute_mode;
    name_space_fixture f;
    const auto file = make_file(*f.names, root_inode, "f").number;
    EXPECT_EQ(code(f.names->get_attribute(file, "user.a")), code(errc::no_attribute));
    EXPECT_EQ(code(f.names->get_attribute(999, "user.a")), code(errc::not_found));
    EXPECT_EQ(code(f.names->set_attribute(999, "user.a", "", mode::any, at(3))), code(errc::not_found));
    EXPECT_EQ(code(f.names->set_attribute(file, "user.a", "1", mode::replace_only, at(3))), code(errc::no_attribute));
    EXPECT_EQ(code(f.names->set_attribute(file, "user.a", "1", mode::create_only, at(3))), ok);
    EXPECT_EQ(code(f.names->set_attribute(file, "user.a", "2", mode::create_only, at(4))), code(errc::exists));
    EXPECT_EQ(*f.names->get_attribute(file, "user.a"), "1");
    EXPECT_EQ(f.names->get(file)->change_time, at(3));
    EXPECT_EQ(code(f.names->set_attribute(file, "user.a", std::string("\0x", 2), mode::replace_only, at(5))), ok);
    EXPECT_EQ(*f.names->get_attribute(file, "user.a"), std::string("\0x", 2));
    EXPECT_EQ(code(f.names->set_attribute(file, "user.empty", "", mode::any, at(5))), ok);
    EXPECT_EQ(*f.names->get_attribute(file, "user.empty"), "");
    const std::string value(attribute_value_size_max, 'v');
    EXPECT_EQ(code(f.names->set_attribute(file, "user.big", value, mode::any, at(5))), ok);
    EXPECT_EQ(code(f.names->set_attribute(file, "user.big", value + "v", mode::any, at(5))), code(errc::too_large));
    EXPECT_EQ(*f.names->get_attribute(file, "user.big"), value);
    const std::string name(attribute_name_size_max, 'n');
    EXPECT_EQ(code(f.names->set_attribute(file, name, "x", mode::any, at(5))), ok);
    EXPECT_EQ(code(f.names->set_attribute(file, name + "n", "x", mode::any, at(5))), code(errc::range));
    EXPECT_EQ(code(f.names->set_attribute(file, "", "x", mode::any, at(5))), code(errc::bad_argument));
    EXPECT_EQ(*f.names->list_attributes(file), (std::vector<std::string>{name, "user.a", "user.big", "user.empty"}));
    EXPECT_EQ(code(f.names->remove_attribute(file, "user.none", at(6))), code(errc::no_attribute));
    EXPECT_EQ(code(f.names->remove_attribute(file, "user.big", at(6))), ok);
    EXPECT_EQ(f.names->get(file)->change_time, at(6));
    EXPECT_EQ(f.names->list_attributes(file)->size(), 3U);
    EXPECT_TRUE(f.names->list_attributes(root_inode)->empty());
    EXPECT_EQ(code(f.names->list_attributes(999)), code(errc::not_found));
    ASSERT_TRUE(f.names->unlink(root_inode, "f", at(7)));
    EXPECT_TRUE(*f.names->forget_orphan(file, 1));
    check(f);
}

TEST(name_space, the_list_of_attributes_fits_what_the_kernel_takes) {
    name_space_fixture f;
    int count = 0;
    result<void> outcome;
    while (outcome) {
        const std::string name = std::to_string(count) + std::string(200, 'n');
        outcome = f.names->set_attribute(root_inode, name, "v", name_space::attribute_mode::any, at(2));
        if (outcome) ++count;
    }
    EXPECT_EQ(outcome.error().code, errc::no_space);
    EXPECT_GT(count, 300);
    EXPECT_LT(count, 330);
}

TEST(name_space, set_keeps_what_is_not_the_callers) {
    name_space_fixture f;
    auto file = make_file(*f.names, root_inode, "f");
    ASSERT_TRUE(f.names->link(file.number, root_inode, "g", at(4)));
    auto changed = file;  // as a cache from before the link would have it
    changed.mode = S_IFREG | S_ISUID | 0711;
    changed.uid = 7;
    changed.gid = 8;
    changed.size = 1ULL << 40U;
    changed.access_time = {-5, 999'999'999};
    changed.modify_time = {1LL << 40U, 0};
    changed.change_time = at(5);
    changed.stored_size = 77;
    changed.parent = 99;
    ASSERT_TRUE(f.names->set(changed));
    const auto now = *f.names->get(file.number);
    EXPECT_EQ(now.link_count, 2U);
    EXPECT_EQ(now.stored_size, 0U);
    EXPECT_EQ(now.parent, 0U);
    EXPECT_EQ(now.mode, changed.mode);
    EXPECT_EQ(now.size, changed.size);
    EXPECT_EQ(now.access_time, changed.access_time);
    EXPECT_EQ(now.modify_time, changed.modify_time);
    changed.size = file_size_max + 1;
    EXPECT_EQ(code(f.names->set(changed)), code(errc::file_too_big));
    changed.size = 0;
    changed.access_time.nanoseconds = 1'000'000'000;
    EXPECT_EQ(code(f.names->set(changed)), code(errc::bad_argument));
    changed = now;
    changed.mode = S_IFDIR | 0755;
    EXPECT_EQ(code(f.names->set(changed)), code(errc::bad_argument));
    changed.number = 4711;
    EXPECT_EQ(code(f.names->set(changed)), code(errc::not_found));
    check(f);
}

/// Lists a directory in steps.
std::map<std::string, directory_entry> list_all(const name_space& names, inode_number directory, std::size_t step) {
    std::map<std::string, directory_entry> found;
    std::uint64_t cookie = 0;
    while (true) {
        const auto entries = names.list(directory, cookie, step);
        EXPECT_TRUE(entries);
        if (!entries || entries->empty()) break;
        for (const auto& e : *entries) {
            EXPECT_GT(e.cookie, cookie);
            cookie = e.cookie;
            EXPECT_TRUE(found.emplace(e.name, e).second);
        }
    }
    return found;
}

void change_directory_at_random(name_space_fixture& f, unsigned seed, int rounds) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    std::map<std::string, inode_number> model;
    std::map<std::string, std::uint64_t> cookies;
    const auto directory = make_directory(*f.names, root_inode, "d").number;
    for (int i = 0; i < rounds; ++i) {
        const std::string name = "n" + std::to_string(random() % 300);
        if (model.contains(name)) {
            const auto number = model[name];
            ASSERT_TRUE(f.names->unlink(directory, name, at(i)));
            ASSERT_TRUE(*f.names->forget_orphan(number, 10));
            model.erase(name);
            cookies.erase(name);
        } else if (random() % 4 == 0 && !model.empty()) {
            const auto from = model.begin()->first;
            ASSERT_TRUE(f.names->rename(directory, from, directory, name, rename_mode::replace, at(i)));
            model[name] = model[from];
            model.erase(from);
            cookies.erase(from);
        } else {
            model[name] = make_file(*f.names, directory, name).number;
        }
        if (random() % 50 != 0) continue;
        const auto listed = list_all(*f.names, directory, 1 + random() % 40);
        ASSERT_EQ(listed.size(), model.size());
        for (const auto& [n, number] : model) {
            ASSERT_TRUE(listed.contains(n));
            EXPECT_EQ(listed.at(n).number, number);
            EXPECT_EQ(listed.at(n).type, S_IFREG + 0U);
            EXPECT_EQ(f.names->lookup(directory, n)->number, number);
            if (cookies.contains(n)) EXPECT_EQ(cookies[n], listed.at(n).cookie) << "a cookie moved";
            cookies[n] = listed.at(n).cookie;
        }
        check(f);
    }
    for (const auto& [n, number] : model) ASSERT_TRUE(f.names->unlink(directory, n, at(1)));
    ASSERT_TRUE(f.names->remove_directory(root_inode, "d", at(1)));
    check(f);
}

TEST(name_space, directories_under_change) {
    name_space_fixture f;
    change_directory_at_random(f, std::random_device{}(), 2000);
}

TEST(name_space, directories_under_change_when_all_hashes_collide) {
    name_space_fixture f(0x300);  // three chains
    change_directory_at_random(f, std::random_device{}(), 2000);
}

TEST(name_space, a_chain_of_colliding_names_has_a_limit) {
    name_space_fixture f(0);
    for (int i = 0; i < 256; ++i) make_file(*f.names, root_inode, "f" + std::to_string(i));
    EXPECT_EQ(code(f.names->create(root_inode, "g", fresh_inode(S_IFREG | 0644))), code(errc::no_space));
    ASSERT_TRUE(f.names->unlink(root_inode, "f0", at(2)));
    ASSERT_TRUE(f.names->unlink(root_inode, "f128", at(2)));
    EXPECT_EQ(f.names->list(root_inode, 0, 1000)->size(), 254U);
    make_file(*f.names, root_inode, "g");
    make_file(*f.names, root_inode, "h");
    EXPECT_EQ(code(f.names->create(root_inode, "i", fresh_inode(S_IFREG | 0644))), code(errc::no_space));
    EXPECT_EQ(f.names->list(root_inode, 0, 1000)->size(), 256U);
    check(f);
}

TEST(name_space, an_entry_that_stays_is_seen_exactly_once_while_others_come_and_go) {
    name_space_fixture f;
    for (int i = 0; i < 500; ++i) make_file(*f.names, root_inode, "stays" + std::to_string(i));
    for (int i = 0; i < 500; ++i) make_file(*f.names, root_inode, "goes" + std::to_string(i));
    std::map<std::string, int> seen;
    std::uint64_t cookie = 0;
    for (int step = 0;; ++step) {
        const auto entries = f.names->list(root_inode, cookie, 10);
        ASSERT_TRUE(entries);
        if (entries->empty()) break;
        for (const auto& e : *entries) ++seen[e.name];
        cookie = entries->back().cookie;
        for (int i = 0; i < 4; ++i) {
            (void)f.names->unlink(root_inode, "goes" + std::to_string(4 * step + i), at(2));
            make_file(*f.names, root_inode, "comes" + std::to_string(4 * step + i));
        }
        // The entry behind the cookie may go too: the walk continues after its place.
        if (entries->back().name.starts_with("comes"))
            ASSERT_TRUE(f.names->unlink(root_inode, entries->back().name, at(2)));
    }
    for (int i = 0; i < 500; ++i) EXPECT_EQ(seen["stays" + std::to_string(i)], 1);
    for (const auto& [name, times] : seen) EXPECT_EQ(times, 1) << name;
}

/// Inode and name, then extent and piece reference, as the mount does: what 5,000 small files add to the journal.
TEST(name_space, a_small_file_costs_at_most_300_bytes_of_log) {
    name_space_fixture f;
    f.names.reset();
    f.db.reset();
    f.options.statistics = rocksdb::CreateDBStatistics();
    f.reopen();
    const auto directory = make_directory(*f.names, root_inode, "d").number;
    const auto logged = [&f] { return f.options.statistics->getTickerCount(rocksdb::WAL_FILE_BYTES); };
    const auto before = logged();
    constexpr std::uint64_t count = 5000;
    for (std::uint64_t i = 0; i < count; ++i) {
        auto fresh = fresh_inode(S_IFREG | 0644);
        fresh.now = {1'700'000'000, 123'456'789};
        auto file = *f.names->create(directory, "sample_" + std::to_string(i) + ".vcf.gz", fresh);
        file.size = 6000;
        file.modify_time = file.change_time = {1'700'000'000, 987'654'321};
        extent e;
        e.chunk = {{12, 0x0123456789abcdef}, 100'000 + i / 500};
        e.piece = static_cast<std::uint16_t>(i % 500);
        e.size = e.piece_size = 6000;
        e.first_unit = static_cast<std::uint32_t>(i % 500);
        ASSERT_TRUE(f.names->replace_extents(file, 0, 6000, {e}));
    }
    const auto per_file = (logged() - before) / count;
    RecordProperty("log_bytes_per_file", static_cast<int>(per_file));
    std::printf("log bytes per small file: %llu\n", static_cast<unsigned long long>(per_file));
    EXPECT_LE(per_file, 300U);
    EXPECT_GT(per_file, 100U);
}

TEST(name_space, reads_go_on_while_one_thread_changes) {
    name_space_fixture f;
    const auto directory = make_directory(*f.names, root_inode, "d").number;
    const auto stays = make_file(*f.names, directory, "stays");
    std::atomic<bool> stop = false;
    std::vector<std::thread> readers;
    for (int i = 0; i < 3; ++i) {
        readers.emplace_back([&] {
            while (!stop) {
                EXPECT_EQ(f.names->lookup(directory, "stays")->number, stays.number);
                (void)f.names->lookup(directory, "goes");
                EXPECT_TRUE(f.names->list(directory, 0, 10));
                const auto extents = f.names->extents(stays.number, 0, 100);
                EXPECT_TRUE(extents) << extents.error().message();
                EXPECT_GE(f.names->use().inodes, 3U);
                EXPECT_TRUE(f.names->live_pieces({}, 0, 10));
            }
        });
    }
    for (std::uint64_t i = 0; i < 500; ++i) {
        const auto file = make_file(*f.names, directory, "goes").number;
        extent e;
        e.size = e.piece_size = 100;
        e.chunk = {{1 + i / 10, 1}, i};  // a new epoch now and then
        EXPECT_TRUE(f.names->replace_extents(stays, 0, 100, {e}));
        EXPECT_TRUE(f.names->unlink(directory, "goes", at(2)));
        EXPECT_TRUE(f.names->forget_orphan(file, 1));
    }
    stop = true;
    for (auto& reader : readers) reader.join();
    check(f);
}

TEST(name_space, a_directory_of_100000_entries) {
    name_space_fixture f;
    const auto directory = make_directory(*f.names, root_inode, "d").number;
    for (int i = 0; i < 100'000; ++i) make_file(*f.names, directory, "file" + std::to_string(i));
    EXPECT_EQ(f.names->get(directory)->size, 100'000U);
    const auto listed = list_all(*f.names, directory, 1000);
    EXPECT_EQ(listed.size(), 100'000U);
    // From a cookie in the middle on.
    const auto& middle = listed.at("file5000");
    std::size_t after = 0;
    for (const auto& [name, e] : listed) after += e.cookie > middle.cookie ? 1 : 0;
    EXPECT_EQ(f.names->list(directory, middle.cookie, 1'000'000)->size(), after);
    EXPECT_EQ(code(f.names->lookup(directory, "file100000")), code(errc::not_found));
    EXPECT_EQ(f.names->lookup(directory, "file77777")->number, listed.at("file77777").number);
}

}  // namespace
}  // namespace warifu
