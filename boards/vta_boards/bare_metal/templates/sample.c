/* See sample.h. */
#include "sample.h"

@SAMPLE_ARRAYS@
const void *const sample_inputs[SAMPLE_RUNS][@NAME@_INPUTS] = {
@SAMPLE_INPUTS@
};
