#pragma once
// A client of the simulated sites: opens the volume, changes it, commits, and tells the chronicle what it was told.

#include <map>
#include <optional>
#include <set>

#include "fs/async/fan_out.h"
#include "fs/volume/volume.h"
#include "tests/sim/network.h"

namespace warifu::sim {

/// One change of the namespace: `name` gets the content of this change (replacing what had the name), or goes. Changes
/// form a tree: each says after which one its writer made it.
struct change {
    std::uint64_t parent = 0;
    std::string name;
    bool removes = false;
    std::uint32_t size = 0;
};

/// What all clients were told, and whether it fits together: one line of changes, of which nothing that was
/// acknowledged or shown ever goes missing.
class chronicle {
  public:
    /// Change 0 is the empty volume.
    chronicle() : changes_(1) {}
    std::uint64_t add(change c) {
        changes_.push_back(std::move(c));
        return changes_.size() - 1;
    }
    bool knows(std::uint64_t number) const { return number < changes_.size(); }
    /// The files after a change: name -> the change that wrote it.
    std::map<std::string, std::uint64_t> files_after(std::uint64_t number) const;
    const change& at(std::uint64_t number) const { return changes_[number]; }

    /// A writer's commit that ended with this change was acknowledged (D1, D5).
    void acknowledged(std::uint64_t number);
    /// A writer opened the volume and found this change the last one (D1, D3): the opening made it durable. `before`:
    /// committed() when it began to open.
    void opened(std::uint64_t number, std::uint64_t before);
    std::uint64_t committed() const { return committed_; }
    /// A reader was shown the state after this change, after that of `before`; nothing may take it back.
    void shown(std::uint64_t number, std::uint64_t before);
    /// REQUIRES: everything has ended. Whether all that was shown is in the line.
    void end();

    std::optional<std::string> violation;
    std::uint64_t acknowledged_count = 0, opened_count = 0, shown_count = 0;

  private:
    bool leads_to(std::uint64_t earlier, std::uint64_t later) const;
    void break_off(const std::string& what) {
        if (!violation) violation = what;
    }
    std::vector<change> changes_;
    std::uint64_t committed_ = 0;
    std::set<std::uint64_t> shown_;
};

byte_vector content_of(std::uint64_t number, std::uint32_t size);

class client {
  public:
    client(asio::io_context& core, std::shared_ptr<world_state> world, chronicle& book, volume_options options);
    ~client() { worker_.join(); }

    /// Opens the volume and lives until it is killed, displaced or has done `changes` changes. Then the object may go.
    awaitable<void> live(unsigned changes);
    /// Follows the writers: looks and checks so many times.
    awaitable<void> look(unsigned looks);
    std::uint64_t last_seen() const { return last_; }
    /// Opens for writing when nothing is in the way any more, checks everything, closes. Says why not.
    task<> last_look();

    void kill();
    void stop() { state_->running.reset(); }
    void go_on() { state_->running.set(); }
    void cut(std::size_t site, bool off) { state_->cut[site] = off; }
    bool ended() const { return ended_; }

  private:
    /// The last change in the namespace, after a check that all names and contents are those after it.
    task<std::uint64_t> check_state(bool strict);
    task<> check_content(std::string name, std::uint64_t number, std::vector<extent> extents, bool strict);
    struct picture {
        std::uint64_t number = 0;  // of the last change
        std::map<std::string, std::vector<extent>> files;
    };
    result<picture> take_picture();
    task<> do_change();
    task<> commit();
    /// Runs `work` (returns a result) on the worker; not any more once the volume is being closed, which waits for it.
    template <typename Work>
    task<typename std::invoke_result_t<Work>::value_type> on_worker(Work work);
    /// Closes the volume, once; whoever comes second waits.
    awaitable<void> shut();

    asio::io_context& core_;
    std::shared_ptr<world_state> world_;
    chronicle& book_;
    volume_options options_;
    std::shared_ptr<client_state> state_;
    std::unique_ptr<volume> volume_;
    asio::thread_pool worker_{1};
    std::uint64_t last_ = 0;
    std::vector<chunk_id> chunks_;
    fan_out<void> puts_;  // by number of change
    bool ended_ = false;
    int jobs_ = 0;  // on the worker
    event idle_;
    bool shutting_ = false;
    event shut_;
};

}  // namespace warifu::sim
