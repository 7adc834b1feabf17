// Checks for free memory before an allocation. Linux grants more memory than there is, and kills
// the process when it uses that memory.
#pragma once

#include <cstddef>
#include <string>

namespace gpubench {

// Throws invalid_argument, "`what` needs 3.2 GB ...; `fix`", if `count` objects of `bytes_each`
// need more memory than is free on the machine or in the container of this process.
void require_memory(std::size_t count, std::size_t bytes_each, const std::string& what,
                    const std::string& fix);

}  // namespace gpubench
