// Known answers of vectors/*.json, which generate.py computes from the formulas without this code.

#include <fstream>
#include <gtest/gtest.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>

#include "fs/sharing/chunk_codec.h"
#include "fs/sharing/test_support.h"

namespace warifu {
namespace {

using json = nlohmann::json;

struct digest_free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

byte_vector shake256(const std::string& label, std::size_t size) {
    const std::unique_ptr<EVP_MD_CTX, digest_free> context(EVP_MD_CTX_new());
    byte_vector out(size);
    EXPECT_EQ(EVP_DigestInit_ex(context.get(), EVP_shake256(), nullptr), 1);
    EXPECT_EQ(EVP_DigestUpdate(context.get(), label.data(), label.size()), 1);
    if (size != 0) EXPECT_EQ(EVP_DigestFinalXOF(context.get(), as_uchar(out.data()), size), 1);
    return out;
}

std::string sha256(bytes_view bytes) {
    std::array<std::byte, 32> out{};
    EXPECT_EQ(EVP_Digest(bytes.data(), bytes.size(), as_uchar(out.data()), nullptr, EVP_sha256(), nullptr), 1);
    return to_hex(out);
}

byte_vector from_hex(const std::string& text) {
    byte_vector bytes;
    for (std::size_t i = 0; i < text.size(); i += 2)
        bytes.push_back(static_cast<std::byte>(std::stoul(text.substr(i, 2), nullptr, 16)));
    return bytes;
}

std::array<std::byte, 16> key_from_hex(const std::string& text) {
    std::array<std::byte, 16> key{};
    std::ranges::copy(from_hex(text), key.begin());
    return key;
}

std::vector<json> load(const std::string& name) {
    std::ifstream in(std::string(WARIFU_SHARING_VECTORS) + "/" + name + ".json");
    const json file = json::parse(in);
    EXPECT_FALSE(file.at("vectors").empty());
    return file.at("vectors");
}

scheme shape_of(const json& v) {
    return *scheme::make(v.at("k"), v.at("n"));
}

piece_name name_of(const json& v) {
    return {chunk_id{ballot{v.at("counter"), v.at("nonce")}, v.at("sequence")}, v.value("piece", std::uint32_t{0})};
}

TEST(vectors, sharing) {
    for (const json& v : load("sharing")) {
        const scheme shape = shape_of(v);
        const auto secret = shake256(v.at("secret_label"), v.at("size"));
        given_random random(shake256(v.at("random_label"), v.at("random_size")));
        const auto shares = split_to_vectors(shape, secret, random);
        EXPECT_EQ(random.used(), v.at("random_size").get<std::size_t>());
        ASSERT_EQ(v.at("shares_sha256").size(), shares.size());
        for (std::size_t i = 0; i < shares.size(); ++i) {
            EXPECT_EQ(shares[i].size(), v.at("share_size").get<std::size_t>());
            EXPECT_EQ(sha256(shares[i]), v.at("shares_sha256")[i].get<std::string>())
                << shape.k() << ',' << shape.n() << ' ' << i;
            if (v.contains("shares")) EXPECT_EQ(to_hex(shares[i]), v.at("shares")[i].get<std::string>());
        }
    }
}

TEST(vectors, tags) {
    for (const json& v : load("tags")) {
        const scheme shape = shape_of(v);
        const auto secret = shake256(v.at("secret_label"), v.at("size"));
        const piece_layout layout(shape, secret.size());
        byte_vector tags(layout.tags_size());
        compute_tags(gf128_point(gf128::load(key_from_hex(v.at("r")).data())), name_of(v), shape, layout,
                     {0, layout.units()}, secret, tags);
        EXPECT_EQ(to_hex(tags), v.at("tags").get<std::string>());
    }
}

TEST(vectors, amd) {
    for (const json& v : load("amd")) {
        const scheme shape = shape_of(v);
        const piece_name id = name_of(v);
        const codeword_name name{volume_id{key_from_hex(v.at("volume"))},
                                 static_cast<codeword_type>(v.at("type").get<int>()), id.chunk.epoch, id.chunk.sequence,
                                 id.piece};
        const auto payload = from_hex(v.at("payload"));
        given_random x(from_hex(v.at("x")));
        const auto codeword = encode_codeword(shape, name, payload, x);
        ASSERT_TRUE(codeword.has_value());
        EXPECT_EQ(to_hex(codeword->view()), v.at("codeword").get<std::string>());
        const auto given = from_hex(v.at("codeword"));
        const auto opened = open_codeword(shape, name, given, payload.size());
        ASSERT_TRUE(opened.has_value());
        EXPECT_TRUE(std::ranges::equal(*opened, payload));
    }
}

TEST(vectors, hashes) {
    for (const json& v : load("hashes")) {
        const gf128_point key(gf128::load(key_from_hex(v.at("key")).data()));
        const share_index index{v.at("index").get<std::uint8_t>()};
        EXPECT_EQ(to_hex(hash_share(key, name_of(v), index, from_hex(v.at("share")), from_hex(v.at("tags")))),
                  v.at("hash").get<std::string>());
    }
}

TEST(vectors, chunks) {
    for (const json& v : load("chunks")) {
        const scheme shape = shape_of(v);
        const std::string label = v.at("label");
        const chunk_kind kind = v.at("kind") == "data" ? chunk_kind::data : chunk_kind::metadata;
        std::vector<byte_vector> secrets;
        for (const std::size_t size : v.at("sizes"))
            secrets.push_back(shake256(label + " piece " + std::to_string(secrets.size()), size));
        const std::vector<bytes_view> pieces(secrets.begin(), secrets.end());
        given_random random(shake256(label + " random", v.at("random_used")));
        const auto shares =
            split_chunk(shape, chunk_keys(key_from_hex(v.at("r")), key_from_hex(v.at("hash_key"))),
                        volume_id{key_from_hex(v.at("volume"))}, name_of(v).chunk, kind, pieces, random);
        ASSERT_TRUE(shares.has_value()) << shares.error().message();
        EXPECT_EQ(random.used(), v.at("random_used").get<std::size_t>());
        for (std::size_t i = 0; i < shares->size(); ++i) {
            const json& expected = v.at("shares")[i];
            const chunk_share& share = (*shares)[i];
            EXPECT_EQ(share.side.size(), expected.at("side_size").get<std::size_t>());
            EXPECT_EQ(sha256(share.side.view()), expected.at("side_sha256").get<std::string>());
            ASSERT_EQ(share.pieces.size(), expected.at("pieces_sha256").size());
            for (std::size_t p = 0; p < share.pieces.size(); ++p)
                EXPECT_EQ(sha256(share.pieces[p].view()), expected.at("pieces_sha256")[p].get<std::string>());
        }
    }
}

/// The worked examples of FORMAT.md.
TEST(vectors, format_page) {
    const scheme shape = *scheme::make(2, 3);
    const chunk_id chunk{ballot{1, 2}, 3};
    const gf128_point x(gf128{2, 0});
    byte_vector secret, random(32, std::byte{0xa0});
    for (unsigned i = 0; i < 20; ++i) secret.push_back(static_cast<std::byte>(i));
    std::fill(random.begin() + 16, random.end(), std::byte{0xb0});
    given_random source(random);
    const auto shares = split_to_vectors(shape, secret, source);
    EXPECT_EQ(to_hex(shares[0]), "a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0b0b1b2b3b4b5b6b7b8b9babbbcbdbebf");
    EXPECT_EQ(to_hex(shares[1]), "b0b1b2b3a0a0a0a0a0a0a0a0a0a0a0a0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0");
    EXPECT_EQ(to_hex(shares[2]), "a0a1a2a3a4a5a6a7a8a9aaabacadaeafa0a1a2a3b0b0b0b0b0b0b0b0b0b0b0b0");
    byte_vector tags(32);
    compute_tags(x, {chunk, 0}, shape, piece_layout(shape, 20), {0, 1}, secret, tags);
    EXPECT_EQ(to_hex(tags), "704513700e0a0c0a11121416191a1c0e50653350060000040100004400000010");
    EXPECT_EQ(to_hex(hash_share(x, {chunk, 0}, share_index{0}, shares[0], {})), "95ec8aebe6e9efe5f3f1f7f5fbf9ffdd");

    codeword_name name{volume_id{}, codeword_type::journal_record, chunk.epoch, 3, 0};
    for (unsigned i = 0; i < 16; ++i) name.volume.bytes[i] = static_cast<std::byte>(i);
    given_random two(byte_vector{std::byte{2}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}});
    const auto codeword = encode_codeword(shape, name, as_bytes_view("warifu"), two);
    ASSERT_TRUE(codeword.has_value());
    EXPECT_EQ(to_hex(codeword->view()),
              "8ef86c6ba4da20148090a070c0d0e0e002000000000000000000000000000000"
              "57414d44010302030000000600000000000102030405060708090a0b0c0d0e0f"
              "0000000000000001000000000000000200000000000000030000000000000000"
              "7761726966750000000000000000000000000000000000000000000000000000");
    const std::vector<std::uint32_t> sizes{20};
    const auto data = share_size_of(shape, chunk_kind::data, sizes),
               metadata = share_size_of(shape, chunk_kind::metadata, sizes);
    EXPECT_EQ(data.side, 192U);
    EXPECT_EQ(data.pieces[0], 32U);
    EXPECT_EQ(metadata.side, 160U);
    EXPECT_EQ(metadata.pieces[0], 128U);
}

}  // namespace
}  // namespace warifu
