#include "keyd/etsi014/base64.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include "fs/base/random.h"

namespace warifu {
namespace {

byte_vector bytes_of(std::string_view text) {
    const auto view = as_bytes_view(text);
    return {view.begin(), view.end()};
}

TEST(base64, known_answers_of_rfc_4648) {
    const std::vector<std::pair<std::string, std::string>> table = {{"", ""},
                                                                    {"f", "Zg=="},
                                                                    {"fo", "Zm8="},
                                                                    {"foo", "Zm9v"},
                                                                    {"foob", "Zm9vYg=="},
                                                                    {"fooba", "Zm9vYmE="},
                                                                    {"foobar", "Zm9vYmFy"}};
    for (const auto& [plain, text] : table) {
        EXPECT_EQ(base64_encode(bytes_of(plain)), text);
        byte_vector out(*base64_decoded_size(text));
        ASSERT_TRUE(base64_decode_into(text, out)) << text;
        EXPECT_EQ(out, bytes_of(plain));
    }
}

TEST(base64, every_length_agrees_with_openssl_and_returns) {
    for (std::size_t size = 0; size < 200; ++size) {
        byte_vector bytes(size);
        fill_kernel_random(bytes);
        std::string expected(base64_size(size) + 1, '\0');  // OpenSSL ends it with a zero
        EVP_EncodeBlock(reinterpret_cast<unsigned char*>(expected.data()), as_uchar(bytes.data()),
                        static_cast<int>(size));
        expected.pop_back();
        const std::string text = base64_encode(bytes);
        ASSERT_EQ(text, expected);
        byte_vector out(*base64_decoded_size(text));
        ASSERT_TRUE(base64_decode_into(text, out));
        ASSERT_EQ(out, bytes);
    }
}

TEST(base64, every_wrong_character_at_every_place_is_seen) {
    const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const std::string good(64, 'A');
    byte_vector out(48);
    for (std::size_t at = 0; at < good.size(); ++at) {
        for (int c = 0; c < 256; ++c) {
            std::string text = good;
            text[at] = static_cast<char>(c);
            const bool legal = alphabet.find(text[at]) != std::string::npos;
            const bool padding = c == '=' && at == 63;  // "...A=": shorter, and its unused bits are zero
            const auto size = base64_decoded_size(text);
            ASSERT_TRUE(size);
            out.assign(*size, std::byte{0x55});
            EXPECT_EQ(base64_decode_into(text, out), legal || padding) << at << " " << c;
            if (!legal && !padding) EXPECT_EQ(out, byte_vector(*size)) << "wiped";
        }
    }
}

TEST(base64, what_is_no_canonical_text_is_refused) {
    for (const auto* text : {"Zg", "Zg=", "Zm9vY", "="}) EXPECT_FALSE(base64_decoded_size(text)) << text;
    for (const auto* text : {"Zh==", "Zm9=", "====", "Z===", "=g==", "Zg==Zg==", "Zm 9", "Zm9v\nmFy", "Zm9-", "Zm9_"}) {
        const std::string_view view(text);
        if (view.size() % 4 != 0) continue;
        byte_vector out(*base64_decoded_size(view));
        EXPECT_FALSE(base64_decode_into(view, out)) << text;
    }
}

}  // namespace
}  // namespace warifu
