// Runs checks in a child process after fork().
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "check.hpp"

// Whether every CHECK of `function` holds in a forked child and the child ends. A child that waits
// for a thread that it does not have is killed after 30 s.
template <class Function>
bool holds_in_child(const Function& function) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    failed_checks = 0;
    try {
      function();
    } catch (const std::exception& error) {
      ++failed_checks;
      std::fprintf(stderr, "the child threw: %s\n", error.what());
    }
    _exit(failed_checks == 0 ? 0 : 1);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}
