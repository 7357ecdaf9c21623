#include "fs/sharing/chunk_codec.h"

#include <gtest/gtest.h>

#include "fs/sharing/test_support.h"

namespace warifu {
namespace {

std::array<std::byte, 16> key_of(std::uint64_t seed) {
    std::array<std::byte, 16> key{};
    std::ranges::copy(noise(16, seed), key.begin());
    return key;
}

/// One chunk, split, and the n stores that hold its shares.
class chunk_world {
  public:
    chunk_world(unsigned k, unsigned n, chunk_kind kind_, std::vector<std::size_t> sizes)
        : shape(*scheme::make(k, n)), kind(kind_) {
        for (std::size_t i = 0; i < sizes.size(); ++i) secrets.push_back(noise(sizes[i], 100 + i));
        std::vector<bytes_view> pieces(secrets.begin(), secrets.end());
        const auto randomness = make_drbg();
        auto made = split_chunk(shape, keys, volume, chunk, kind, pieces, *randomness);
        WARIFU_ASSERT(made.has_value());
        shares = std::move(*made);
    }

    piece_ref ref(std::uint32_t piece) const {
        piece_ref found{kind, {chunk, piece}, static_cast<std::uint32_t>(secrets[piece].size()), 0};
        for (std::uint32_t i = 0; i < piece; ++i)
            found.first_tag_unit += piece_layout(shape, secrets[i].size()).units();
        return found;
    }
    /// What store `i` answers to a plan.
    fetched_share fetch(share_index i, std::span<const fetch_range> plan) const {
        fetched_share answer{i, {}, {}};
        for (const fetch_range& range : plan) {
            if (range.part == fetch_side_part)
                answer.tags = shares[i.value].side.view(range.offset, range.size);
            else
                answer.piece = shares[i.value].pieces[range.part].view(range.offset, range.size);
        }
        return answer;
    }
    std::vector<fetched_share> fetch_all(std::span<const share_index> which, std::span<const fetch_range> plan) const {
        std::vector<fetched_share> answers;
        for (const share_index i : which) answers.push_back(fetch(i, plan));
        return answers;
    }
    result<slice> read(const piece_ref& piece, std::size_t offset, std::size_t size,
                       std::span<const share_index> which) const {
        TRY(const auto plan, read_plan(shape, piece, offset, size));
        return open_range(shape, keys, volume, piece, offset, size, fetch_all(which, plan));
    }
    whole_share whole(share_index i) const {
        whole_share share{i, shares[i.value].side.view(), {}};
        for (const buffer& piece : shares[i.value].pieces) share.pieces.push_back(piece.view());
        return share;
    }
    std::vector<whole_share> wholes(std::span<const share_index> which) const {
        std::vector<whole_share> found;
        for (const share_index i : which) found.push_back(whole(i));
        return found;
    }

    scheme shape;
    chunk_kind kind;
    chunk_keys keys{key_of(1), key_of(2)};
    volume_id volume{{std::byte{1}, std::byte{2}, std::byte{3}}};
    chunk_id chunk{ballot{5, 0x77}, 1234};
    std::vector<byte_vector> secrets;
    std::vector<chunk_share> shares;
};

bool is_bad_tag(const auto& got) {
    return !got && got.error().code == errc::bad_tag;
}

struct layout_case {
    unsigned k, n;
    chunk_kind kind;
    std::vector<std::size_t> sizes;
};

class chunks : public testing::TestWithParam<layout_case> {};

TEST_P(chunks, every_piece_and_range_reads_back_from_every_subset) {
    const auto& p = GetParam();
    const chunk_world w(p.k, p.n, p.kind, p.sizes);
    for (const auto& which : subsets(p.k, p.n)) {
        for (std::uint32_t piece = 0; piece < w.secrets.size(); ++piece) {
            const auto& secret = w.secrets[piece];
            for (std::size_t offset = 0; offset < secret.size(); offset += 1 + secret.size() / 3) {
                for (const std::size_t size :
                     {std::size_t{1}, secret.size() - offset, (secret.size() - offset + 1) / 2}) {
                    const auto got = w.read(w.ref(piece), offset, size, which);
                    ASSERT_TRUE(got.has_value()) << got.error().message();
                    ASSERT_TRUE(std::ranges::equal(got->view(), bytes_view(secret).subspan(offset, size)));
                }
            }
        }
    }
}

TEST_P(chunks, shares_have_the_announced_sizes) {
    const auto& p = GetParam();
    const chunk_world w(p.k, p.n, p.kind, p.sizes);
    const std::vector<std::uint32_t> sizes(p.sizes.begin(), p.sizes.end());
    const auto announced = share_size_of(w.shape, p.kind, sizes);
    for (const chunk_share& share : w.shares) {
        std::size_t total = share.side.size();
        EXPECT_EQ(share.side.size(), announced.side);
        ASSERT_EQ(share.pieces.size(), announced.pieces.size());
        for (std::size_t i = 0; i < share.pieces.size(); ++i) {
            EXPECT_EQ(share.pieces[i].size(), announced.pieces[i]);
            total += share.pieces[i].size();
        }
        EXPECT_EQ(total, announced.total());
    }
}

TEST_P(chunks, draw_exactly_the_announced_randomness) {
    const auto& p = GetParam();
    const chunk_world w(p.k, p.n, p.kind, p.sizes);
    std::vector<bytes_view> pieces(w.secrets.begin(), w.secrets.end());
    const std::vector<std::uint32_t> sizes(p.sizes.begin(), p.sizes.end());
    const std::size_t announced = chunk_random_size(w.shape, p.kind, sizes);
    given_random enough(noise(announced, 3));
    EXPECT_TRUE(split_chunk(w.shape, w.keys, w.volume, w.chunk, p.kind, pieces, enough));
    EXPECT_EQ(enough.used(), announced);
}

TEST_P(chunks, every_share_is_rebuilt_bit_for_bit) {
    const auto& p = GetParam();
    const chunk_world w(p.k, p.n, p.kind, p.sizes);
    for (const auto& which : subsets(p.k, p.n)) {
        for (unsigned target = 0; target < p.n; ++target) {
            const auto made = rebuild_share(w.shape, w.keys, w.volume, w.chunk, w.kind, at(target), w.wholes(which));
            ASSERT_TRUE(made.has_value()) << made.error().message();
            ASSERT_TRUE(std::ranges::equal(made->side.view(), w.shares[target].side.view()));
            for (std::size_t i = 0; i < made->pieces.size(); ++i)
                ASSERT_TRUE(std::ranges::equal(made->pieces[i].view(), w.shares[target].pieces[i].view()));
        }
    }
}

INSTANTIATE_TEST_SUITE_P(shapes, chunks,
                         testing::Values(layout_case{2, 3, chunk_kind::data, {100}},
                                         layout_case{2, 3, chunk_kind::data, {30000, 1, 8192, 8193, 5}},
                                         layout_case{2, 3, chunk_kind::metadata, {16384, 700}},
                                         layout_case{2, 2, chunk_kind::data, {9000}},
                                         layout_case{3, 5, chunk_kind::data, {70000, 12}},
                                         layout_case{3, 4, chunk_kind::metadata, {32768, 32768, 9}},
                                         layout_case{4, 6, chunk_kind::data, {24576, 24575, 24577}}));

TEST(chunk_codec, largest_chunk) {
    const chunk_world w(2, 3, chunk_kind::data, {chunk_size_max});
    const auto plan = *read_plan(w.shape, w.ref(0), 3'000'000, 4096);
    ASSERT_EQ(plan.size(), 2U);
    EXPECT_EQ(plan[0], (fetch_range{0, 2998272, 8192}));  // unit 366
    EXPECT_EQ(plan[1], (fetch_range{fetch_side_part, 366 * 32, 32}));
    EXPECT_TRUE(w.read(w.ref(0), 0, chunk_size_max, std::vector{at(0), at(2)}).has_value());
}

TEST(chunk_codec, refuses_impossible_chunks_and_ranges) {
    const auto shape = *scheme::make(2, 3);
    const chunk_keys keys(key_of(1), key_of(2));
    const auto randomness = make_drbg();
    const auto code = [&](std::vector<bytes_view> pieces) {
        return split_chunk(shape, keys, {}, {}, chunk_kind::data, pieces, *randomness).error().code;
    };
    const auto big = noise(chunk_size_max, 1), small = noise(1, 1);
    EXPECT_EQ(code({}), errc::bad_argument);
    EXPECT_EQ(code({small, bytes_view{}}), errc::bad_argument);
    EXPECT_EQ(code({big, small}), errc::too_large);
    EXPECT_EQ(code(std::vector<bytes_view>(chunk_piece_count_max + 1, bytes_view(small))), errc::too_large);

    const piece_ref piece{chunk_kind::data, {}, 100, 0};
    EXPECT_TRUE(read_plan(shape, piece, 99, 1).has_value());
    EXPECT_FALSE(read_plan(shape, piece, 100, 1).has_value());
    EXPECT_FALSE(read_plan(shape, piece, 0, 0).has_value());
    EXPECT_FALSE(read_plan(shape, piece, 1, 100).has_value());
    EXPECT_FALSE(read_plan(shape, piece, ~std::size_t{0}, 2).has_value());
    EXPECT_FALSE(read_plan(shape, {chunk_kind::data, {}, 0, 0}, 0, 1).has_value());
    EXPECT_FALSE(read_plan(shape, {chunk_kind::data, {}, 0xffffffff, 0}, 0, 1).has_value());
    const piece_ref nowhere{chunk_kind::data, {}, 100, 0xffffffff};  // its tags would be past 32 bits
    EXPECT_FALSE(read_plan(shape, nowhere, 0, 1).has_value());
    EXPECT_EQ(tag_range(shape, nowhere).size, 0U);
}

/// Changes one bit of one site's share, everywhere, and checks that a read notices.
void flip_every_bit(chunk_world& w, std::uint32_t piece) {
    const std::vector<share_index> which{at(0), at(2)};
    const piece_ref ref = w.ref(piece);
    const auto plan = *read_plan(w.shape, ref, 0, ref.payload_size);
    for (const share_index liar : which) {
        for (const fetch_range& range : plan) {
            buffer& part =
                range.part == fetch_side_part ? w.shares[liar.value].side : w.shares[liar.value].pieces[range.part];
            for (std::size_t bit = 0; bit < range.size * std::size_t{8}; ++bit) {
                std::byte& byte = part.data()[range.offset + bit / 8];
                byte ^= std::byte{1} << (bit % 8);
                ASSERT_TRUE(is_bad_tag(w.read(ref, 0, ref.payload_size, which))) << bit;
                byte ^= std::byte{1} << (bit % 8);
            }
        }
    }
    ASSERT_TRUE(w.read(ref, 0, ref.payload_size, which).has_value());
}

TEST(forgery, any_bit_of_data_or_tags) {
    chunk_world w(2, 3, chunk_kind::data, {50, 100});
    flip_every_bit(w, 0);
    flip_every_bit(w, 1);
}

TEST(forgery, any_bit_of_metadata) {
    chunk_world w(2, 3, chunk_kind::metadata, {50, 100});
    flip_every_bit(w, 0);
    flip_every_bit(w, 1);
}

TEST(forgery, any_bit_of_the_hash_table) {
    chunk_world w(2, 3, chunk_kind::data, {50});
    const std::vector<share_index> which{at(1), at(2)};
    const std::size_t tags = piece_layout(w.shape, 50).tags_size();
    buffer& side = w.shares[1].side;
    for (std::size_t bit = tags * 8; bit < side.size() * 8; ++bit) {
        side.data()[bit / 8] ^= std::byte{1} << (bit % 8);
        ASSERT_TRUE(is_bad_tag(open_hash_table(w.shape, w.volume, w.chunk, w.wholes(which)))) << bit;
        side.data()[bit / 8] ^= std::byte{1} << (bit % 8);
    }
    ASSERT_TRUE(open_hash_table(w.shape, w.volume, w.chunk, w.wholes(which)).has_value());
}

/// Genuine shares of the wrong thing, from one liar and from all sites (a store that mixes things up).
TEST(forgery, swapped_pieces_chunks_and_positions) {
    for (const chunk_kind kind : {chunk_kind::data, chunk_kind::metadata}) {
        const chunk_world w(2, 3, kind, {40000, 40000});
        const std::vector<share_index> which{at(0), at(2)};
        const auto plan0 = *read_plan(w.shape, w.ref(0), 0, 40000), plan1 = *read_plan(w.shape, w.ref(1), 0, 40000);
        auto answers = w.fetch_all(which, plan0);
        const auto others = w.fetch_all(which, plan1);
        const auto open = [&](const piece_ref& ref) {
            return open_range(w.shape, w.keys, w.volume, ref, 0, 40000, answers);
        };
        ASSERT_TRUE(open(w.ref(0)).has_value());
        EXPECT_TRUE(is_bad_tag(open(w.ref(1))));  // all sites answer with another piece
        answers[0] = others[0];
        EXPECT_TRUE(is_bad_tag(open(w.ref(0))));  // one site does
        answers = w.fetch_all(which, plan0);
        answers[0].index = at(1);  // a share under an index that is not its own
        EXPECT_TRUE(is_bad_tag(open(w.ref(0))));
        answers[0].index = at(0);
        for (unsigned field = 0; field < 3; ++field) {
            piece_ref other = w.ref(0);
            if (field == 0) ++other.name.chunk.sequence;
            if (field == 1) ++other.name.chunk.epoch.counter;
            if (field == 2) ++other.name.chunk.epoch.nonce;
            EXPECT_TRUE(is_bad_tag(open(other)));
        }
        // The same padded size, another length.
        piece_ref shorter = w.ref(0);
        --shorter.payload_size;
        ASSERT_EQ(piece_layout(w.shape, 39999).share_size(), piece_layout(w.shape, 40000).share_size());
        EXPECT_TRUE(is_bad_tag(open_range(w.shape, w.keys, w.volume, shorter, 0, 39999, answers)));
    }
}

/// k = 2 joins two shares by w_i[j] ^ w_i'[j] alone, so exchanging the two is harmless; for k = 3 it is not.
TEST(forgery, shares_under_each_others_index) {
    for (const unsigned k : {2U, 3U}) {
        const chunk_world w(k, 5, chunk_kind::data, {40000});
        const std::vector<share_index> which(k == 2 ? std::vector{at(0), at(3)} : std::vector{at(0), at(3), at(4)});
        auto answers = w.fetch_all(which, *read_plan(w.shape, w.ref(0), 0, 40000));
        std::swap(answers[0].index, answers[1].index);
        const auto got = open_range(w.shape, w.keys, w.volume, w.ref(0), 0, 40000, answers);
        if (k == 3)
            EXPECT_TRUE(is_bad_tag(got));
        else
            EXPECT_TRUE(got.has_value() && std::ranges::equal(got->view(), w.secrets[0]));
    }
}

TEST(forgery, a_unit_in_the_place_of_another) {
    const chunk_world w(2, 3, chunk_kind::data, {5 * 8192});
    const std::vector<share_index> which{at(0), at(1)};
    const auto plan = *read_plan(w.shape, w.ref(0), 8192, 8192);
    const auto answers = w.fetch_all(which, plan);  // unit 1 with its own tags, from every site
    EXPECT_TRUE(open_range(w.shape, w.keys, w.volume, w.ref(0), 8192, 8192, answers).has_value());
    EXPECT_TRUE(is_bad_tag(open_range(w.shape, w.keys, w.volume, w.ref(0), 0, 8192, answers)));
}

TEST(forgery, metadata_of_another_volume) {
    const chunk_world w(2, 3, chunk_kind::metadata, {400});
    const auto plan = *read_plan(w.shape, w.ref(0), 0, 400);
    const auto answers = w.fetch_all(std::vector{at(0), at(1)}, plan);
    EXPECT_TRUE(open_range(w.shape, w.keys, w.volume, w.ref(0), 0, 400, answers).has_value());
    EXPECT_TRUE(is_bad_tag(open_range(w.shape, w.keys, volume_id{}, w.ref(0), 0, 400, answers)));
}

TEST(forgery, answers_of_wrong_sizes_are_errors) {
    const chunk_world w(2, 3, chunk_kind::data, {400});
    const auto plan = *read_plan(w.shape, w.ref(0), 0, 400);
    auto answers = w.fetch_all(std::vector{at(0), at(1)}, plan);
    const auto open = [&] { return open_range(w.shape, w.keys, w.volume, w.ref(0), 0, 400, answers); };
    answers[1].tags = answers[1].tags.first(16);
    EXPECT_FALSE(open().has_value());
    answers[1].tags = {};
    EXPECT_FALSE(open().has_value());
    answers = w.fetch_all(std::vector{at(0), at(1)}, plan);
    answers[0].piece = answers[0].piece.first(32);
    EXPECT_FALSE(open().has_value());
    answers.pop_back();
    EXPECT_FALSE(open().has_value());
}

TEST(liars, every_single_liar_of_two_of_three_is_named) {
    for (const chunk_kind kind : {chunk_kind::data, chunk_kind::metadata}) {
        for (unsigned liar = 0; liar < 3; ++liar) {
            chunk_world w(2, 3, kind, {20000});
            w.shares[liar].pieces[0].data()[17] ^= std::byte{4};
            const auto plan = *read_plan(w.shape, w.ref(0), 0, 100);
            const auto answers = w.fetch_all(std::vector{at(0), at(1), at(2)}, plan);
            const auto report = find_liars(w.shape, w.keys, w.volume, w.ref(0), 0, 100, answers);
            ASSERT_TRUE(report.has_value());
            EXPECT_EQ(report->differ, std::vector{at(liar)});
            EXPECT_EQ(report->agree.size(), 2U);
            EXPECT_TRUE(report->certain);
            EXPECT_TRUE(std::ranges::equal(report->bytes.view(), bytes_view(w.secrets[0]).first(100)));
        }
    }
}

TEST(liars, a_liar_about_tags_or_size_is_named) {
    chunk_world w(3, 5, chunk_kind::data, {20000});
    const auto plan = *read_plan(w.shape, w.ref(0), 0, 20000);
    w.shares[1].side.data()[3] ^= std::byte{4};
    auto answers = w.fetch_all(std::vector{at(0), at(1), at(2), at(3), at(4)}, plan);
    answers[3].piece = answers[3].piece.first(64);
    const auto report = find_liars(w.shape, w.keys, w.volume, w.ref(0), 0, 20000, answers);
    ASSERT_TRUE(report.has_value());
    EXPECT_EQ(report->differ, (std::vector{at(1), at(3)}));
    EXPECT_FALSE(report->certain);  // 3 of 5 agree, fewer than 2k-1
}

TEST(liars, more_than_can_be_tolerated_is_an_error) {
    chunk_world w(2, 3, chunk_kind::data, {20000});
    w.shares[0].pieces[0].data()[0] ^= std::byte{1};
    w.shares[1].pieces[0].data()[1] ^= std::byte{1};
    const auto plan = *read_plan(w.shape, w.ref(0), 0, 1);
    const auto answers = w.fetch_all(std::vector{at(0), at(1), at(2)}, plan);
    EXPECT_TRUE(is_bad_tag(find_liars(w.shape, w.keys, w.volume, w.ref(0), 0, 1, answers)));
    EXPECT_FALSE(find_liars(w.shape, w.keys, w.volume, w.ref(0), 20000, 1, answers).has_value());
}

/// Sub-blocks in which the shares of some sharing of zero are one, by brute force over the unknowns of (3,5): one whose
/// share 2 is zero and whose shares 0 and 1 are not.
std::vector<std::vector<bool>> conspiracy(const scheme& shape) {
    for (unsigned unknowns = 1; unknowns < (1U << shape.random_blocks_per_unit()); ++unknowns) {  // all secrets zero
        std::vector<std::vector<bool>> ones(shape.n(), std::vector<bool>(shape.sub_blocks()));
        std::vector<unsigned> weight(shape.n());
        for (unsigned share = 0; share < shape.n(); ++share) {
            for (unsigned block = 0; block < shape.sub_blocks(); ++block) {
                unsigned sum = 0;
                for (const unsigned term : share_terms(shape, share, block)) sum ^= (unknowns >> term) & 1U;
                ones[share][block] = sum != 0;
                weight[share] += sum;
            }
        }
        if (weight[2] == 0 && weight[0] != 0 && weight[1] != 0) return ones;
    }
    return {};
}

/// Two liars of 3-of-5 who know each other add a sharing of zero that is zero at share 2: {0,1,2} then still read
/// right. Reading must not be harmed, the report must not claim to be certain, and the hashes must tell, also when a
/// share is rebuilt.
TEST(liars, conspirators_cannot_frame_the_honest_before_the_hashes) {
    chunk_world w(3, 5, chunk_kind::data, {16384});
    const auto ones = conspiracy(w.shape);
    ASSERT_EQ(ones.size(), 5U);
    for (const unsigned liar : {0U, 1U})
        for (unsigned block = 0; block < w.shape.sub_blocks(); ++block)
            if (ones[liar][block]) w.shares[liar].pieces[0].data()[block * sub_block_size + 5] ^= std::byte{0x10};

    const std::vector<share_index> all{at(0), at(1), at(2), at(3), at(4)}, framed{at(0), at(1), at(2)};
    EXPECT_TRUE(w.read(w.ref(0), 0, 16384, framed).has_value());
    const auto answers = w.fetch_all(all, *read_plan(w.shape, w.ref(0), 0, 16384));
    const auto report = find_liars(w.shape, w.keys, w.volume, w.ref(0), 0, 16384, answers);
    ASSERT_TRUE(report.has_value());
    EXPECT_TRUE(std::ranges::equal(report->bytes.view(), w.secrets[0]));
    EXPECT_FALSE(report->certain);

    const auto table = open_hash_table(w.shape, w.volume, w.chunk, w.wholes(framed));
    ASSERT_TRUE(table.has_value());
    const auto wrong = wrong_shares(w.shape, w.keys, w.chunk, w.kind, *table, w.wholes(all));
    ASSERT_TRUE(wrong.has_value());
    EXPECT_EQ(*wrong, (std::vector{at(0), at(1)}));
    EXPECT_TRUE(is_bad_tag(rebuild_share(w.shape, w.keys, w.volume, w.chunk, w.kind, at(3), w.wholes(framed))));
}

TEST(rebuild, a_changed_helper_is_refused_and_named) {
    chunk_world w(2, 3, chunk_kind::data, {5000, 6000});
    w.shares[1].pieces[1].data()[99] ^= std::byte{1};
    const std::vector<share_index> which{at(0), at(1)};
    EXPECT_TRUE(is_bad_tag(rebuild_share(w.shape, w.keys, w.volume, w.chunk, w.kind, at(2), w.wholes(which))));
    const auto table = open_hash_table(w.shape, w.volume, w.chunk, w.wholes(which));
    ASSERT_TRUE(table.has_value());
    const auto wrong =
        wrong_shares(w.shape, w.keys, w.chunk, w.kind, *table, w.wholes(std::vector{at(0), at(1), at(2)}));
    ASSERT_TRUE(wrong.has_value());
    EXPECT_EQ(*wrong, std::vector{at(1)});
}

TEST(rebuild, changed_tags_are_refused) {
    chunk_world w(2, 3, chunk_kind::data, {5000});
    w.shares[1].side.data()[5] ^= std::byte{1};
    EXPECT_TRUE(is_bad_tag(
        rebuild_share(w.shape, w.keys, w.volume, w.chunk, w.kind, at(2), w.wholes(std::vector{at(0), at(1)}))));
}

TEST(rebuild, another_chunk_is_refused) {
    const chunk_world w(2, 3, chunk_kind::data, {5000});
    chunk_id other = w.chunk;
    ++other.sequence;
    const auto shares = w.wholes(std::vector{at(0), at(1)});
    EXPECT_TRUE(is_bad_tag(rebuild_share(w.shape, w.keys, w.volume, other, w.kind, at(2), shares)));
}

/// A removed piece: gone at every site, its tags zeroed; the others are rebuilt with their checks.
TEST(rebuild, removed_pieces_stay_removed) {
    chunk_world w(2, 3, chunk_kind::data, {5000, 6000, 7000});
    const fetch_range tags = tag_range(w.shape, w.ref(1));
    EXPECT_EQ(tags, (fetch_range{fetch_side_part, 32, 32}));
    for (chunk_share& share : w.shares) {
        share.pieces[1] = buffer();
        std::ranges::fill(share.side.span(tags.offset, tags.size), std::byte{0});
    }
    const std::vector<share_index> which{at(0), at(2)};
    const auto made = rebuild_share(w.shape, w.keys, w.volume, w.chunk, w.kind, at(1), w.wholes(which));
    ASSERT_TRUE(made.has_value()) << made.error().message();
    EXPECT_TRUE(made->pieces[1].empty());
    EXPECT_TRUE(std::ranges::equal(made->pieces[2].view(), w.shares[1].pieces[2].view()));
    EXPECT_TRUE(std::ranges::equal(made->side.view(), w.shares[1].side.view()));

    auto half = w.wholes(which);
    half[0].pieces[2] = {};
    const auto refused = rebuild_share(w.shape, w.keys, w.volume, w.chunk, w.kind, at(1), half);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, errc::conflict);
}

}  // namespace
}  // namespace warifu
