#include "tools/cli.h"

#include <fmt/format.h>

#include <cstdio>
#include <exception>

#include "tools/exit_code.h"

namespace warifu {
namespace {

/// The full name of a subcommand without the program: "site stop".
std::string full_name(const CLI::App* command) {
    const CLI::App* parent = command->get_parent();
    if (parent == nullptr || parent->get_parent() == nullptr) return command->get_name();
    return full_name(parent) + " " + command->get_name();
}

int complain(const CLI::App* command, const error& e) {
    fmt::print(stderr, "warifu {}: {}\n", full_name(command), e.text.empty() ? e.message() : e.text);
    return exit_code_of(e);
}

}  // namespace

CLI::App* cli::command(CLI::App& parent, const std::string& name, const std::string& description,
                       const std::string& examples) {
    CLI::App* made = parent.add_subcommand(name, description);
    if (!examples.empty()) made->footer("Examples:\n" + examples);
    return made;
}

void cli::run(CLI::App* command, std::function<result<int>()> body) {
    command->callback([this, command, body = std::move(body)] {
        const result<int> outcome = body();
        exit_code = outcome ? *outcome : complain(command, outcome.error());
    });
}

}  // namespace warifu
