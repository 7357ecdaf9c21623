#pragma once
// Plaintext bytes into messages: fields and payload are received straight into their final memory.

#include <functional>
#include <optional>

#include "fs/wire/message.h"

namespace warifu {

/// A message as it came. Slices of the payload may outlive it.
struct incoming {
    message_header header;
    buffer fields;
    slice payload;
    body_view body() const { return {fields.view(), payload}; }
};

/// One lane's stream of messages. Core thread only.
class message_assembler {
  public:
    /// `admit` sees each header before anything is allocated for its message; its error ends the stream.
    explicit message_assembler(std::function<result<void>(const message_header&)> admit) : admit_(std::move(admit)) {}

    /// Where the next plaintext bytes belong; never empty.
    bytes_span next();
    /// The first `size` bytes of next() are there. Returns the message that they complete. REQUIRES: size <=
    /// next().size(). Errors: those of decode_message_header and admit: the stream makes no sense any more.
    result<std::optional<incoming>> advance(std::size_t size);
    /// True in the middle of a message.
    bool is_partial() const { return header_size_ != 0; }

  private:
    std::optional<incoming> complete();

    std::function<result<void>(const message_header&)> admit_;
    message_header_bytes header_bytes_{};
    std::size_t header_size_ = 0;  // received
    message_header header_;
    buffer fields_;
    std::size_t fields_size_ = 0;
    buffer payload_;
    std::size_t payload_size_ = 0;
};

}  // namespace warifu
