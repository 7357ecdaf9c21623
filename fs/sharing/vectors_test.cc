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

}  // namespace
}  // namespace warifu
