#include "fs/volume/membership.h"

#include <algorithm>

namespace warifu {

site_verdict judge(const error& e) {
    switch (e.code) {
        case errc::stale_epoch:
            return site_verdict::authority_lost;
        case errc::no_key:
        case errc::no_space:
            return site_verdict::wait;
        default:
            return site_verdict::failed;
    }
}

membership::membership(asio::any_io_executor on, unsigned k, std::vector<site_link> all)
    : executor(std::move(on)), threshold(k), site_count(static_cast<unsigned>(all.size())), sites(std::move(all)) {}

std::vector<share_index> membership::members() const {
    std::vector<share_index> indices;
    for (const view_member& member : current.members) indices.push_back(member.site);
    return indices;
}

bool membership::drop(share_index index, const std::string& why) {
    if (!current.has(index)) return true;
    if (!may_drop()) return false;
    waiting_for.erase(index);
    out_of_contact.erase(index);
    std::erase_if(current.members, [&](const view_member& member) { return member.site == index; });
    ++current.number;
    view_dirty = true;
    site_link& link = site(index);
    link.role = site_role::down;
    link.attached = false;
    link.reason = why;
    return true;
}

void membership::admit(share_index index) {
    site_link& link = site(index);
    link.role = site_role::member;
    link.silent_beats = 0;
    link.reason.clear();
    if (!current.has(index)) {
        view_member member;
        member.site = index;
        member.incarnation = link.incarnation;
        current.members.push_back(member);
        std::ranges::sort(current.members, {}, &view_member::site);
        ++current.number;
        view_dirty = true;
    }
}

void membership::lose_authority(const std::string& why) {
    if (!lost_) lost_ = why;
}

result<void> membership::check_writable() const {
    if (lost_) return fail(errc::read_only, *lost_);
    if (authority.is_zero()) return fail(errc::read_only, "the volume is open read-only");
    if (stopping) return fail(errc::cancelled, "the volume is closing");
    return {};
}

}  // namespace warifu
