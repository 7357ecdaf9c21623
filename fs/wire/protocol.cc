#include "fs/wire/protocol.h"

namespace warifu {

std::string_view to_string(verb v) {
    switch (v) {
        case verb::state: return "state";
        case verb::reserve: return "reserve";
        case verb::put: return "put";
        case verb::get: return "get";
        case verb::describe: return "describe";
        case verb::remove: return "remove";
        case verb::list: return "list";
        case verb::append: return "append";
        case verb::read_journal: return "read_journal";
        case verb::cut_journal: return "cut_journal";
        case verb::promise: return "promise";
        case verb::heartbeat: return "heartbeat";
        case verb::pin: return "pin";
        case verb::sync: return "sync";
        case verb::server_status: return "server_status";
        case verb::create_volume: return "create_volume";
        case verb::reload_access: return "reload_access";
        case verb::offer_window: return "offer_window";
        case verb::confirm_window: return "confirm_window";
        case verb::refuse_window: return "refuse_window";
        case verb::end: return "end";
    }
    return "unknown";
}

std::string_view to_string(transport t) {
    return t == transport::otp ? "otp" : "plain";
}

}  // namespace warifu
