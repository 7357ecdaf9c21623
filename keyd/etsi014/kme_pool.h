#pragma once
// The KMEs of one site: which one is asked, over which connection. Failover and the way back, kept-alive connections,
// a bound on how many there are.

#include <deque>
#include <memory>
#include <set>

#include "keyd/etsi014/etsi014_client.h"
#include "keyd/etsi014/https_connection.h"

namespace warifu::etsi014 {

/// Core thread. Lives on while something of it runs (shared_ptr); close() ends that soon.
class kme_pool : public std::enable_shared_from_this<kme_pool> {
  public:
    kme_pool(asio::any_io_executor executor, std::shared_ptr<ssl::context> tls, std::vector<https_url> urls,
             unsigned connections_max, std::uint32_t request_timeout_ms);

    struct reply {
        https_answer answer;
        std::size_t kme = 0;  // who gave it
    };
    /// The first answer that says something: any status but 5xx and 429, trying each KME once, those that work first.
    /// 503 and 429 come back when no other KME says more. Errors: unreachable, denied, timed_out, bad_format (no HTTP,
    /// a redirect), too_large: the last KME's.
    task<reply> ask(https_request request, std::size_t body_max, deadline until);
    /// The KME's answer was no good: it is left alone for a while.
    void punish(std::size_t kme);
    /// False: the pool is closed.
    awaitable<bool> pause(deadline until);
    /// Ends what is under way (but for connections that are being made: connect_timeout_ms) and refuses what comes.
    void close();

    std::string current_url() const { return current_ ? kmes_[*current_].url.text() : ""; }
    etsi014_counters& counters() { return counters_; }

  private:
    struct kme {
        kme(https_url u, const asio::any_io_executor& executor) : url(std::move(u)), freed(executor) {}
        https_url url;
        std::deque<std::unique_ptr<https_connection>> idle;
        unsigned in_use = 0;
        event freed;
        std::uint32_t penalty_ms = 0;  // 0: works as far as known
        deadline penalty_until{};
        bool probing = false;
    };
    /// Counts a connection in use; gives the place back.
    class place;
    /// One exchange on a connection that close() can end.
    task<https_answer> exchange(https_connection& on, https_request request, std::size_t body_max, deadline until);

    std::vector<std::size_t> order() const;
    awaitable<void> await_turn(std::size_t index, deadline until);
    task<https_answer> ask_one(std::size_t index, https_request request, std::size_t body_max, deadline until);
    task<std::unique_ptr<https_connection>> connect(std::size_t index, deadline until);
    result<reply> judge(std::size_t index, result<https_answer> answer);
    void worked(std::size_t index);
    void probe_better(std::size_t than);
    static awaitable<void> probe(std::shared_ptr<kme_pool> self, std::size_t index);

    asio::any_io_executor executor_;
    std::shared_ptr<ssl::context> tls_;
    std::deque<kme> kmes_;
    unsigned connections_max_;
    std::uint32_t request_timeout_ms_;
    std::optional<std::size_t> current_;
    etsi014_counters counters_;
    std::set<https_connection*> busy_;
    event close_wanted_;
    bool closed_ = false;
};

}  // namespace warifu::etsi014
