#pragma once
// The alarm of a mount: a program of the administrator's is run when something happens that a person should know of.
//
//   PROGRAM EVENT ABOUT TEXT
//
// | event | about | when |
// |---|---|---|
// | site_lost, site_back | the site | it left the view; it is a member again |
// | key_low, key_enough | the peer | less unspent key to it than `-o alarm_key=`; more again |
// | space_low, space_enough | - | less than 5 % of the space is free; more again |
// | read_only, writable | - | the volume takes no writes (TEXT says why: disputed head, another writer, lost sites) |
// | stuck, moving | - | a request has had no reply for long; none is stuck any more |
//
// What is wrong when the mount begins is told then.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace warifu {

inline constexpr std::uint64_t alarm_key_default = 64U << 20U;  // bytes
inline constexpr std::size_t alarm_queue_max = 64;              // events that wait for the program
inline constexpr std::uint32_t alarm_program_ms = 60'000;       // then it is killed
inline constexpr std::uint32_t alarm_last_ms = 5'000;           // ... or so long after the mount's end

struct alarm_event {
    std::string name, about, text;
    bool operator==(const alarm_event&) const = default;
};

/// What is looked at.
struct alarm_view {
    std::map<std::string, std::string> lost_sites;      // site -> why
    std::map<std::string, std::uint64_t> outbound_key;  // peer -> bytes; peers whose keyd does not answer are left out
    bool writable = true;
    std::string reason;  // why it is not
    std::uint64_t capacity = 0, free = 0;
    bool stuck = false;
};

/// Turns looks into events: each change once.
class alarm_state {
  public:
    explicit alarm_state(std::uint64_t key_low) : key_low_(key_low) {}
    std::vector<alarm_event> step(const alarm_view& now);

  private:
    void change(std::vector<alarm_event>& events, const std::string& about, bool bad, const char* begins,
                const char* ends, const std::string& text);
    const std::uint64_t key_low_;
    std::map<std::pair<std::string, std::string>, bool> bad_;  // (kind, about)
};

/// Runs the program, one event after the other, on a thread of its own.
class alarm_runner {
  public:
    explicit alarm_runner(std::string program);
    /// Waits for the program that runs, alarm_last_ms at most; what is queued is dropped.
    ~alarm_runner();
    alarm_runner(const alarm_runner&) = delete;
    alarm_runner& operator=(const alarm_runner&) = delete;
    /// Any thread; never waits. Beyond alarm_queue_max the oldest event goes.
    void tell(alarm_event event);

  private:
    void run();
    void run_program(const alarm_event& event);
    bool wait_for_end(int pid);

    const std::string program_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<alarm_event> queue_;  // guarded by mutex_, as is stop_
    bool stop_ = false;
    std::thread thread_;
};

}  // namespace warifu
