# What find_package(gpubench CONFIG) needs: from the build tree, from `cmake --install`, and from the
# wheel, whose package directory is the install prefix.

include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/gpubench)

install(TARGETS gpubench_core EXPORT gpubench-targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY csrc/include/gpubench ${generated_include_dir}/gpubench
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
install(EXPORT gpubench-targets NAMESPACE gpubench:: DESTINATION ${package_dir})
export(EXPORT gpubench-targets NAMESPACE gpubench::
       FILE ${PROJECT_BINARY_DIR}/gpubench-targets.cmake)

configure_file(cmake/gpubench-config.cmake gpubench-config.cmake COPYONLY)
write_basic_package_version_file(gpubench-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/gpubench-config.cmake
              ${PROJECT_BINARY_DIR}/gpubench-config-version.cmake
        DESTINATION ${package_dir})
