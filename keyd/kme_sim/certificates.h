#pragma once
// Certificates for demos, tests and local deployments: a CA, one server certificate for each KME, one client
// certificate for each SAE. ECDSA P-256. Not for real sites: the CA's key lies beside the rest.

#include <filesystem>
#include <string>
#include <vector>

#include "fs/base/error.h"
#include "keyd/kme_sim/config.h"

namespace warifu::kme_sim {

struct certificates_wanted {
    std::vector<std::string> saes;   // "sae-NAME.pem" and ".key", subject CN = NAME
    std::vector<std::string> kmes;   // "NAME.pem" and ".key", subject CN = NAME
    std::vector<std::string> hosts;  // more names and addresses for the KMEs' subjectAltName
    unsigned days = 3650;
};

/// Writes into `directory` (made if missing): ca.pem, ca.key and the files above; private keys with mode 0600. An
/// existing CA there is used again; other files are replaced. The KMEs' subjectAltName has their names, `hosts`,
/// localhost, 127.0.0.1 and ::1. Errors: bad_argument (a name that makes no file name), io_error and the like with the
/// file.
result<void> make_certificates(const std::filesystem::path& directory, const certificates_wanted& wanted);

/// A network in which each SAE has a KME of its own, "kme-SAE", and each pair a direct link; certificates from
/// make_certificates(). What a local deployment starts from; the caller changes limits, rates and addresses.
network_config network_of(const std::filesystem::path& directory, const std::vector<std::string>& saes,
                          std::uint64_t rate);

}  // namespace warifu::kme_sim
