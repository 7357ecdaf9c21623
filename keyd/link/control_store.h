#pragma once
// A link's control pad on disk, and the enrolment files that it begins with. PADS/links/PEER.control is replaced in one
// step (written beside, flushed, renamed, directory flushed) and the bytes of the old file are overwritten.

#include <functional>
#include <string>

#include "keyd/link/control_state.h"

namespace warifu {

inline constexpr std::string_view enrolment_suffix = ".enrolment";

/// What `warifu link enrol` makes: the same slots for both ends, in a file for each.
struct enrolment {
    control_id id;
    std::string caller;
    std::string listener;
    link_end end = link_end::caller;  // whose file this is
    byte_vector hello;                // control_hello_slots_target slots
    byte_vector work;                 // control_work_slots_target slots
    enrolment() = default;
    enrolment(const enrolment&) = default;
    enrolment(enrolment&&) = default;
    enrolment& operator=(const enrolment&) = default;
    enrolment& operator=(enrolment&&) = default;
    ~enrolment() {
        wipe(hello);
        wipe(work);
    }
    const std::string& own() const { return end == link_end::caller ? caller : listener; }
    const std::string& peer() const { return end == link_end::caller ? listener : caller; }
};
/// Fresh bytes from the kernel; the file of the end `for_end`.
enrolment make_enrolment(const std::string& site, const std::string& other);
byte_vector encode_enrolment(const enrolment& e);
/// bad_format, bad_version, bad_checksum.
result<enrolment> decode_enrolment(bytes_view in);
/// Writes SITE/SITE-OTHER.enrolment below `directory` for both ends, mode 0600. Returns both paths. Errors: exists when
/// one is there.
result<std::vector<std::string>> write_enrolments(const std::string& directory, const std::string& site,
                                                  const std::string& other);
/// Checks a courier's file for `own` and one of its `peers`, puts it where keyd takes it (`directory`), then overwrites
/// and removes the original. denied: the other end's file, or not for this site; exists: imported before or waiting.
result<std::string> accept_enrolment(const std::string& directory, const std::string& own,
                                     const std::vector<std::string>& peers, const std::string& file);

/// Where in a save a test lets the process die.
enum class save_step : std::uint8_t { before, written, renamed };

class control_store {
  public:
    control_store(std::string directory, std::string own, std::string peer)
        : directory_(std::move(directory)), own_(std::move(own)), peer_(std::move(peer)) {}

    /// Reads the file if there is one, and an enrolment that waits. Errors name the file: those of
    /// decode_control_state, denied (it is another link's), exists (an enrolment that was imported before; it is set
    /// aside). not_found: there is neither.
    result<void> open();
    /// A waiting enrolment replaces the control pad. False: none waits.
    result<bool> take_enrolment();
    bool is_enrolled() const { return enrolled_; }
    const control_state& state() const { return state_; }

    // Each is durable when it returns. A failure is final until open() has read back what is there.
    /// not_found: the slot is spent.
    result<control_slot> spend(std::uint64_t slot);
    result<void> join(const link_protocol::facts& own_told, const link_protocol::facts& peer_told);
    struct addition {
        bool hello = false;
        std::uint64_t first = 0;
        bytes_view bytes;
    };
    result<void> add(link_end master, const std::vector<addition>& additions);

    std::string path() const { return directory_ + "/" + peer_ + ".control"; }
    std::string enrolment_path() const { return directory_ + "/" + peer_ + std::string(enrolment_suffix); }
    /// Tests: true lets the save fail there, as if the process had died.
    std::function<bool(save_step)> fault;

  private:
    result<void> save();
    result<void> write_file(bytes_view bytes);
    result<void> usable() const;

    std::string directory_, own_, peer_;
    control_state state_;
    bool enrolled_ = false;
    bool broken_ = false;
};

}  // namespace warifu
