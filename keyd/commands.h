#pragma once
// What `warifu key ...` does, as functions: arguments are parsed already, text goes to the given streams, the exit code
// comes back. 0: done, or clean. 1: key_audit has findings, or something was refused. 2: something could not be read or
// reached.

#include <chrono>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

namespace warifu {

inline constexpr int key_exit_good = 0;
inline constexpr int key_exit_findings = 1;
inline constexpr int key_exit_unreadable = 2;

/// Asks the keyds behind these sockets for stock and use; a table, or one JSON array of their answers.
int key_status(const std::vector<std::string>& sockets, bool json, std::ostream& out, std::ostream& err);

/// The same table again and again on a cleared screen, as long as goes_on() says so, with a pause after each.
int key_watch(const std::vector<std::string>& sockets, std::chrono::milliseconds pause,
              const std::function<bool()>& goes_on, std::ostream& out, std::ostream& err);

/// Hands pad files to a keyd: `where` is its pads directory or its socket. Files are checked first and copied; the
/// originals stay (and should be destroyed).
int key_import(const std::string& where, const std::vector<std::string>& files, std::ostream& out, std::ostream& err);

struct key_deal_options {
    std::string from;                 // sender's site
    std::string to;                   // receiver's site
    std::string out_from;             // directory for the sender's files
    std::string out_to;               // directory for the receiver's files; both are created if they are not there
    std::uint64_t size = 64U << 20U;  // bytes per block
    std::uint64_t count = 1;
    std::uint64_t offset = 0;  // of the first block in the stream
    bool random = false;       // random blocks for sharing at site `from` instead; `to` and `out_to` are not used
};
/// Writes courier pad files with simulated key for both ends of a stream.
int key_deal(const key_deal_options& options, std::ostream& out, std::ostream& err);

/// Whether any pad byte was used twice or could be (keyd/audit.h), from pads directories.
int key_audit(const std::vector<std::string>& directories, bool json, std::ostream& out, std::ostream& err);

}  // namespace warifu
