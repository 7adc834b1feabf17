// Whether memory suffices, asked before it is taken: Linux grants more than there is, and kills the
// process when it is touched.
#pragma once

#include <cstddef>
#include <string>

namespace gpubench {

// Throws invalid_argument, "`what` needs 3.2 GB ...; `fix`", where `count` objects of `bytes_each`
// are more than the machine, or the container around this process, can still give.
void require_memory(std::size_t count, std::size_t bytes_each, const std::string& what,
                    const std::string& fix);

}  // namespace gpubench
