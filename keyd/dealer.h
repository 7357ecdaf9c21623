#pragma once
// Plays the QKD links of a local deployment: makes identical pad blocks for both ends of each stream and drops them
// into both sites' incoming directories, at a bit rate or as fast as they are needed, so that the unspent stock of each
// stream stays at a target. The bytes come from AES-256-CTR keyed by the kernel for each block; their claim is
// `simulated`.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "keyd/client.h"
#include "keyd/pad_source.h"

namespace warifu {

struct dealer_options {
    struct end {
        std::string site;
        std::string incoming;  // directory that the site's keyd takes pad files from
        std::string socket;    // of the site's keyd
    };
    std::vector<end> sites;
    std::vector<std::pair<std::string, std::string>> links;  // names of sites; both directions are dealt
    std::uint64_t target = 256U << 20U;                      // unspent bytes to keep per stream
    std::uint64_t rate_bits = 0;                             // per stream and second; 0: no limit
    std::uint64_t block_size_min = 128U << 10U;
    std::uint64_t block_size_max = 64U << 20U;
    std::uint64_t disk_reserve = 256U << 20U;  // bytes that stay free in the file systems of the directories
    std::uint32_t poll_ms = 100;               // how often keyds are asked
    std::function<bool()> is_paused;           // asked before each step of run(); none: never
};

/// Writes one block with fresh simulated bytes, identical, into each directory (the last one gets its file last).
/// Errors name the file.
result<void> write_identical_blocks(const block_header& block, const std::vector<std::string>& directories);

/// The size of the blocks for a target and a rate: an eighth of the target, at most a second's worth of key.
std::uint64_t dealt_block_size(const dealer_options& options);

class dealer {
  public:
    /// bad_argument: a link names an unknown site, or sizes make no sense.
    static result<std::unique_ptr<dealer>> create(dealer_options options);

    /// Asks the keyds once and deals what is missing and due. How many blocks were written; a keyd that does not answer
    /// pauses its links, a full disk pauses all (both are logged once).
    task<std::size_t> step();
    /// Steps until stop().
    awaitable<void> run();
    void stop() { stopping_ = true; }

  private:
    struct dealt {
        std::uint64_t offset;
        std::uint64_t data_size;
    };
    struct stream {
        stream_name name;
        const dealer_options::end* sender = nullptr;
        const dealer_options::end* receiver = nullptr;
        std::uint64_t next_offset = 0;
        std::deque<dealt> pending;  // blocks that one of the ends has not imported yet
        double tokens = 0;          // bytes that the rate allows now
    };
    struct stock {
        std::uint64_t available = 0;
        std::uint64_t end = 0;  // of what was imported
    };
    using site_stock = std::map<stream_name, stock>;

    explicit dealer(dealer_options options) : options_(std::move(options)) {}
    void find_undelivered();
    task<site_stock> ask(const dealer_options::end& site);
    result<bool> deal(stream& to, const site_stock& at_sender, const site_stock& at_receiver);
    void report(const std::string& what);

    dealer_options options_;
    std::vector<stream> streams_;
    std::map<std::string, std::unique_ptr<keyd_client>> clients_;
    deadline last_step_ = steady_clock::now();
    std::string last_report_;
    bool stopping_ = false;
};

/// Deals until SIGTERM or SIGINT.
result<void> run_dealer(dealer_options options, std::function<void()> on_ready = {});

}  // namespace warifu
