/* Inputs for main.c. Made by vta export c. */
#ifndef SAMPLE_H
#define SAMPLE_H

#include "@name@.h"

#define SAMPLE_IMAGES @SAMPLE_IMAGES@u
#define SAMPLE_RUNS @SAMPLE_RUNS@u /* of @NAME@_BATCH images; images of zeros fill the last one up */

extern const void *const sample_inputs[SAMPLE_RUNS][@NAME@_INPUTS];

#endif
