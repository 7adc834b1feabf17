# What every target of this project is compiled with.

function(gpubench_compile_options target)
  target_compile_features(${target} PRIVATE cxx_std_17)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
endfunction()
