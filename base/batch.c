#include "base/batch.h"

const char *const mb_modality_name[MB_MODALITIES] = { "text",      "image",     "speech",
                                                      "modality3", "modality4", "modality5",
                                                      "modality6", "modality7" };
