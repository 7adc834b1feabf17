// A minimal test framework: a test is a function with CHECKs, and main() runs the tests in a list.
#pragma once

#include <cstdio>
#include <exception>
#include <string>

inline int failed_checks = 0;

#define CHECK(condition)                                                                 \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      ++failed_checks;                                                                   \
      std::fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
    }                                                                                    \
  } while (false)

// The message of the Exception that `function` throws. If it throws none, a check fails and this is
// "".
template <class Exception, class Function>
std::string message_of(const Function& function) {
  try {
    static_cast<void>(function());
  } catch (const Exception& error) {
    return error.what();
  }
  ++failed_checks;
  std::fprintf(stderr, "the expected exception was not thrown\n");
  return "";
}

struct test {
  const char* name;
  void (*run)();
};

template <class... Tests>
int run_tests(const Tests&... tests) {
  for (const test& each : {tests...}) {
    const int before = failed_checks;
    try {
      each.run();
    } catch (const std::exception& error) {
      ++failed_checks;
      std::fprintf(stderr, "threw: %s\n", error.what());
    }
    std::printf("%s %s\n", failed_checks == before ? "ok  " : "FAIL", each.name);
    std::fflush(stdout);
  }
  return failed_checks == 0 ? 0 : 1;
}

#define TEST(function) (test{#function, function})
