#include "fs/base/random.h"

#include <cerrno>
#include <openssl/evp.h>
#include <sys/random.h>

#include "fs/base/assert.h"

namespace warifu {

std::string_view to_string(claim c) {
    switch (c) {
        case claim::computational: return "computational";
        case claim::simulated: return "simulated";
        case claim::information_theoretic: return "information-theoretic";
    }
    return "unknown";
}

void fill_kernel_random(bytes_span out) {
    while (!out.empty()) {
        const ssize_t got = ::getrandom(out.data(), out.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        WARIFU_ASSERT(got > 0);
        out = out.subspan(static_cast<std::size_t>(got));
    }
}

std::uint64_t kernel_random_u64() {
    std::uint64_t value = 0;
    fill_kernel_random(std::as_writable_bytes(std::span(&value, 1)));
    return value;
}

namespace {

struct cipher_free {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};

class drbg final : public random_source {
  public:
    drbg() : context_(EVP_CIPHER_CTX_new()) {
        WARIFU_ASSERT(context_ != nullptr);
        rekey();
    }

    claim strength() const override { return claim::computational; }

    result<void> begin_chunk() override {
        rekey();
        return {};
    }

    /// CTR keystream = encryption of zeros, written in place.
    result<void> fill(bytes_span out) override {
        constexpr std::size_t step_max = 1U << 30U;
        while (!out.empty()) {
            const std::size_t step = out.size() < step_max ? out.size() : step_max;
            std::memset(out.data(), 0, step);
            int written = 0;
            const int ok = EVP_EncryptUpdate(context_.get(), as_uchar(out.data()), &written, as_uchar(out.data()),
                                             static_cast<int>(step));
            WARIFU_ASSERT(ok == 1 && written == static_cast<int>(step));
            out = out.subspan(step);
        }
        return {};
    }

  private:
    void rekey() {
        std::array<std::byte, 48> seed{};  // 32 bytes of key, 16 of counter
        fill_kernel_random(seed);
        const int ok = EVP_EncryptInit_ex2(context_.get(), EVP_aes_256_ctr(), as_uchar(seed.data()),
                                           as_uchar(seed.data() + 32), nullptr);
        WARIFU_ASSERT(ok == 1);
        wipe(seed);
    }

    std::unique_ptr<EVP_CIPHER_CTX, cipher_free> context_;
};

}  // namespace

std::unique_ptr<random_source> make_drbg() {
    return std::make_unique<drbg>();
}

}  // namespace warifu
