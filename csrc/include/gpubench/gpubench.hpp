// Includes all headers of the core except those for GPUs (gpubench/cuda/).
#pragma once

#include "gpubench/arrivals.hpp"
#include "gpubench/batching.hpp"
#include "gpubench/clock.hpp"
#include "gpubench/delay_executor.hpp"
#include "gpubench/error.hpp"
#include "gpubench/executor.hpp"
#include "gpubench/fleet.hpp"
#include "gpubench/process.hpp"
#include "gpubench/request.hpp"
#include "gpubench/request_source.hpp"
#include "gpubench/run.hpp"
#include "gpubench/runner.hpp"
#include "gpubench/simulate.hpp"
#include "gpubench/timeline.hpp"
#include "gpubench/version.hpp"
#include "gpubench/waiting.hpp"
