/* How work is dealt out to the threads of the pool; included by simd.h.
 *
 * The tasks of a call depend on the shapes and on what is 0 alone, and each sum is formed within one task: the results
 * have the same bits for any number of threads.
 */

#include "jobs/product.h"
#include "jobs/affine.h"
#include "jobs/strips.h"
#include "jobs/depthwise.h"
#include "jobs/direct.h"
#include "jobs/planar.h"
#include "jobs/pooled.h"
#include "jobs/winograd.h"
#include "jobs/convolution.h"
#include "jobs/pooling.h"
#include "jobs/peak.h"
