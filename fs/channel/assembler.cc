#include "fs/channel/assembler.h"

#include "fs/base/assert.h"

namespace warifu {

bytes_span message_assembler::next() {
    if (header_size_ < message_header_size) return bytes_span(header_bytes_).subspan(header_size_);
    if (fields_size_ < fields_.size()) return fields_.span().subspan(fields_size_);
    return payload_.span().subspan(payload_size_);
}

std::optional<incoming> message_assembler::complete() {
    if (fields_size_ < fields_.size() || payload_size_ < payload_.size()) return std::nullopt;
    incoming message{header_, std::move(fields_), {}};
    if (!payload_.empty()) message.payload = slice(std::move(payload_));
    fields_ = {};
    payload_ = {};
    header_size_ = fields_size_ = payload_size_ = 0;
    return message;
}

result<std::optional<incoming>> message_assembler::advance(std::size_t size) {
    WARIFU_ASSERT(size <= next().size());
    if (header_size_ == message_header_size) {
        (fields_size_ < fields_.size() ? fields_size_ : payload_size_) += size;
        return complete();
    }
    header_size_ += size;
    if (header_size_ < message_header_size) return std::nullopt;
    TRY(header_, decode_message_header(header_bytes_));
    TRY_VOID(admit_(header_));
    fields_ = buffer(header_.fields_size);
    payload_ = buffer(header_.payload_size);
    return complete();
}

}  // namespace warifu
