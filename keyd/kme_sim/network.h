#pragma once
// The KMEs of a simulated QKD network without their sockets: what each answers to whom (ETSI GS QKD 014 v1.1.1
// sections 5 and 6), which keys wait where, the links between them, and the faults asked for.

#include <deque>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "fs/base/random.h"
#include "keyd/etsi014/messages.h"
#include "keyd/kme_sim/faults.h"
#include "keyd/kme_sim/link.h"

namespace warifu::kme_sim {

struct kme_request {
    bool post = false;
    std::string target;  // path and query
    std::string body;
    std::string sae;  // who asks, from the certificate
};
struct kme_answer {
    unsigned status = 200;
    buffer body;
    std::string_view type = "application/json";
    std::string_view allow;         // for 405
    std::uint32_t delay_ms = 0;     // before it is sent
    bool close_unanswered = false;  // it is never sent
};

/// Core thread of its executor.
class kme_network {
  public:
    kme_network(asio::any_io_executor executor, network_config config);

    const network_config& config() const { return config_; }
    /// What the KME of this name answers. REQUIRES: it is one of this process.
    awaitable<kme_answer> handle(std::string kme, kme_request request);
    /// Keys come over a link from another process. no_space, or not_found (no such SAEs here).
    result<void> receive(const std::string& kme, const key_delivery_batch& batch);
    void set_remote(const std::string& kme, std::shared_ptr<remote_link> link) { remotes_[kme] = std::move(link); }

    /// "status", "clear", "fault KIND ...": FORMAT.md. bad_argument.
    result<nlohmann::ordered_json> admin(const std::string& command);

  private:
    /// What the keys of one delivery have in common.
    struct key_origin {
        std::string master;
        std::string id_extension;
        std::string key_extension;
    };
    struct waiting_key {
        std::string slave;
        std::shared_ptr<const key_origin> origin;
        std::shared_ptr<const key_bytes> bytes;
        deadline expires;
    };
    struct kme {
        const kme_config* config = nullptr;
        std::unordered_multimap<key_id, waiting_key> waiting;
        std::deque<std::pair<deadline, key_id>> expiry;  // in order of arrival, which is that of expiring
        std::uint64_t waiting_size = 0;
        std::uint64_t requests = 0;
        std::uint64_t keys_encrypted = 0;
        std::uint64_t keys_decrypted = 0;
        std::uint64_t keys_expired = 0;
    };
    struct link {
        link(const link_config& c, std::uint64_t rate, std::uint64_t capacity)
            : config(&c), stock(rate, capacity, steady_clock::now()), rate_now(rate) {}
        const link_config* config;
        key_stock stock;
        std::uint64_t rate_now;
    };
    /// A request for keys that was found good: who gets them, over which links.
    struct order {
        kme* at = nullptr;
        std::string master;
        std::size_t number = 0;
        std::size_t size = 0;                                    // bytes
        std::map<std::string, std::vector<std::string>> slaves;  // by KME
        std::vector<link*> links;
        std::string path_extension;  // of the relayed key
        std::string note;            // for key_container_extension
    };
    using answer_or_order = std::expected<order, kme_answer>;

    kme_answer error_answer(unsigned status, std::string_view message,
                            std::vector<etsi014::extension> details = {}) const;
    awaitable<kme_answer> dispatch(kme& at, kme_request request);
    awaitable<kme_answer> answer_enc_keys(kme& at, std::string slave, kme_request request);
    kme_answer answer_dec_keys(kme& at, const std::string& master, const kme_request& request);
    kme_answer status(kme& at, const std::string& master, const std::string& slave);
    answer_or_order check_order(kme& at, const std::string& slave, const std::string& master,
                                const etsi014::key_request& wanted);
    std::optional<kme_answer> check_sizes(const etsi014::key_request& wanted) const;
    std::optional<kme_answer> find_ways(order& o, const std::vector<std::string>& slaves);
    std::optional<kme_answer> check_extensions(order& o, const etsi014::key_request& wanted) const;
    std::optional<kme_answer> take_stock(order& o);
    awaitable<kme_answer> fill(order o);
    key_delivery_batch cut_batch(const order& o, const std::string& kme, const std::vector<shared_key>& keys);
    kme_answer dec_keys(kme& at, const std::string& slave, const std::string& master, const std::vector<key_id>& ids);

    const kme_config* config_of(const std::string& sae) const;
    link* find_link(const std::string& a, const std::string& b);
    std::uint64_t stock_of(link& l, deadline now);
    void expire(kme& at, deadline now);
    std::shared_ptr<const key_bytes> fresh_bytes(std::size_t size);

    asio::any_io_executor executor_;
    network_config config_;
    std::map<std::string, kme> kmes_;                  // of this process
    std::map<std::string, const kme_config*> sae_at_;  // all SAEs
    std::deque<link> links_;
    std::map<std::string, std::shared_ptr<remote_link>> remotes_;  // by the other KME
    fault_list faults_;
    std::unique_ptr<random_source> random_ = make_drbg();
};

}  // namespace warifu::kme_sim
