#pragma once
// Relayed key: which nodes saw the key of a link, durably, and the rule that keeps k shares' pads from one node.

#include <map>
#include <set>
#include <string>
#include <vector>

#include "keyd/pad_source.h"

namespace warifu {

/// One link's record of relayed blocks, PADS/links/PEER.paths: a line of JSON for each block whose key passed other
/// nodes, written and flushed before the block joins. Blocks of direct key leave no line. Nodes are never forgotten;
/// of blocks the last link_records_max.
class path_records {
  public:
    struct record {
        block_id id;
        stream_name stream;
        pad_range range;
        std::vector<std::string> path;
        bool operator==(const record&) const = default;
    };

    /// bad_format names file and line. A last line that was cut off is dropped.
    static result<path_records> open(std::string file);
    /// too_large: the link would have more nodes than it may.
    result<void> add(const record& r);
    const std::vector<record>& blocks() const { return blocks_; }
    /// Every node that ever saw key of this link.
    const std::set<std::string>& nodes() const { return nodes_; }

  private:
    result<void> rewrite();

    std::string file_;
    std::vector<record> blocks_;
    std::set<std::string> nodes_;
};

/// Where one share of a volume lies, and who else saw the pads that its bytes travel under.
struct share_route {
    std::string site;
    std::vector<std::string> nodes;  // empty: key comes from the site's own link or courier
};
/// The rule of a placement: the writer's own share does not travel; every other share is seen by its site and by all
/// nodes of its route. Who sees `threshold` shares or more could put the secret together: these, with the sites whose
/// shares they see. Empty: the placement is good.
std::map<std::string, std::vector<std::string>> placement_breaches(const std::string& writer_site,
                                                                   const std::vector<share_route>& routes,
                                                                   unsigned threshold);

}  // namespace warifu
