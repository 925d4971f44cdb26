/* Squared error and its gradient, one warp per row:
     loss = mean (y - wanted)^2,  dy = scale 2 (y - wanted) / S */
#include "models/kernels/cuda/kernel.cuh"

__global__ void squared_error(float *loss, float *dy, const float *y, const float *wanted,
                              float scale, int64_t s)
{
    int64_t row = blockIdx.x * s;
    float sum = 0;

    for (int64_t j = threadIdx.x; j < s; j += blockDim.x) {
        float error = y[row + j] - wanted[row + j];

        sum += error * error;
        if (dy)
            dy[row + j] = scale * 2 * error / (float)s;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        loss[blockIdx.x] = sum / (float)s;
}

void cu_regress(cu *on, float *loss, float *dy, const float *y, const float *wanted, float scale,
                int64_t t, int64_t s)
{
    launch(on, squared_error, t, WARP, loss, dy, y, wanted, scale, s);
}
