// The installed version header says the version that the CMake package says.
#include <gpubench/gpubench.hpp>
#include <string_view>

static_assert(gpubench::version_major == PACKAGE_VERSION_MAJOR);
static_assert(gpubench::version_minor == PACKAGE_VERSION_MINOR);
static_assert(gpubench::version_patch == PACKAGE_VERSION_PATCH);
static_assert(std::string_view(gpubench::version) == PACKAGE_VERSION);
