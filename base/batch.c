#include "base/batch.h"

const char *const mb_modality_name[MB_MODALITIES] = { "text", "image", "speech" };
